// The function app on Flex Consumption: Python 3.13, one user-assigned identity for everything it reaches.

@description('Name of the app; its host name begins with it.')
param name string

@description('Azure region.')
param location string

@description('Tags.')
param tags object

@description('The app\'s identity.')
param identityName string

@description('Storage account of package, host and links.')
param storageName string

@description('Container of the package.')
param packageContainerName string

@description('Application Insights component.')
param applicationInsightsName string

@description('Address of ContraForce\'s credential in the vault.')
param credentialUri string

@description('The customers as JSON, or @ and a file of the package. Empty: the setting is left out.')
param workspaces string

@description('Base of the ContraForce v2 API.')
param contraforceApiUrl string

@description('Client id of the ContraForce service account.')
param contraforceClientId string

@description('Incidents below this severity get no ticket.')
param minimumSeverity string

@description('NCRONTAB of the timer, UTC.')
param reconcileSchedule string

@description('From how long before its first run the timer follows a workspace, in hours.')
param reconcileLookbackHours int

@description('Days after which finished records are removed.')
param linkRetentionDays int

@description('Per ticket system an https URL with {id} or {number}.')
param ticketUrlTemplates object

@description('Resource Manager\'s address.')
param armEndpoint string

@description('Instances that never start cold.')
param alwaysReadyInstances int

@description('At most so many instances.')
param maximumInstances int

@description('App registration of the callers\' tokens; empty for the function key alone.')
param authClientId string

@description('Object id of the playbook\'s identity, the only caller with a token.')
param playbookPrincipalId string

@description('Client id of the playbook\'s identity.')
param playbookClientId string

@description('ARM id of the playbook, told by a tag: the operators\' tool finds it there.')
param playbookId string

@description('Admit Azure Logic Apps and allowedIpRanges only.')
param restrictInbound bool

@description('Further address ranges that may call.')
param allowedIpRanges string[]

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource storage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: storageName
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: applicationInsightsName
}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: '${name}-plan'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: { name: 'FC1', tier: 'FlexConsumption' }
  properties: { reserved: true }
}

var allowedRanges = [
  for (range, index) in allowedIpRanges: {
    name: 'allowed-${index}'
    action: 'Allow'
    priority: 200 + index
    ipAddress: range
  }
]
var logicApps = {
  name: 'logic-apps'
  action: 'Allow'
  priority: 100
  tag: 'ServiceTag'
  ipAddress: 'LogicApps'
}

var settings = [
  // the host's
  { name: 'AzureWebJobsStorage__accountName', value: storage.name }
  { name: 'AzureWebJobsStorage__credential', value: 'managedidentity' }
  { name: 'AzureWebJobsStorage__clientId', value: identity.properties.clientId }
  { name: 'APPLICATIONINSIGHTS_CONNECTION_STRING', value: applicationInsights.properties.ConnectionString }
  {
    name: 'APPLICATIONINSIGHTS_AUTHENTICATION_STRING'
    value: 'Authorization=AAD;ClientId=${identity.properties.clientId}'
  }
  { name: 'PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY', value: 'true' }
  { name: 'PYTHON_APPLICATIONINSIGHTS_LOGGER_NAME', value: 'contraforce_sentinel' }
  {
    name: 'OTEL_PYTHON_DISABLED_INSTRUMENTATIONS'
    value: 'azure_sdk,django,fastapi,flask,psycopg2,requests,urllib,urllib3'
  }
  { name: 'OTEL_TRACES_SAMPLER', value: 'microsoft.fixed_percentage' }
  { name: 'OTEL_TRACES_SAMPLER_ARG', value: '1.0' }
  // the app's: src/contraforce_sentinel/settings.py
  { name: 'ARM_ENDPOINT', value: armEndpoint }
  { name: 'AZURE_CLIENT_ID', value: identity.properties.clientId }
  { name: 'CONTRAFORCE_API_URL', value: contraforceApiUrl }
  { name: 'CONTRAFORCE_CLIENT_ID', value: contraforceClientId }
  { name: 'CONTRAFORCE_CLIENT_SECRET', value: '@Microsoft.KeyVault(SecretUri=${credentialUri})' }
  { name: 'LINK_RETENTION_DAYS', value: string(linkRetentionDays) }
  { name: 'LINK_STORE', value: storage.properties.primaryEndpoints.table }
  { name: 'MINIMUM_SEVERITY', value: minimumSeverity }
  { name: 'RECONCILE_LOOKBACK_HOURS', value: string(reconcileLookbackHours) }
  { name: 'RECONCILE_SCHEDULE', value: reconcileSchedule }
  { name: 'TICKET_URL_TEMPLATES', value: string(ticketUrlTemplates) }
]
var ofCustomers = empty(workspaces) ? [] : [{ name: 'WORKSPACES', value: workspaces }]

resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: union(tags, { 'contraforce-playbook': playbookId })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identity.id}': {} }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    keyVaultReferenceIdentity: identity.id
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storage.properties.primaryEndpoints.blob}${packageContainerName}'
          authentication: { type: 'UserAssignedIdentity', userAssignedIdentityResourceId: identity.id }
        }
      }
      runtime: { name: 'python', version: '3.13' }
      scaleAndConcurrency: {
        instanceMemoryMB: 2048
        maximumInstanceCount: maximumInstances
        alwaysReady: alwaysReadyInstances > 0 ? [{ name: 'http', instanceCount: alwaysReadyInstances }] : []
        triggers: { http: { perInstanceConcurrency: 100 } }
      }
    }
    siteConfig: {
      ftpsState: 'Disabled'
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      http20Enabled: true
      ipSecurityRestrictionsDefaultAction: restrictInbound ? 'Deny' : 'Allow'
      ipSecurityRestrictions: restrictInbound ? concat([logicApps], allowedRanges) : []
      appSettings: concat(settings, ofCustomers)
    }
  }
}

// Nobody publishes with a password.
resource noFtpPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'ftp'
  properties: { allow: false }
}

resource noScmPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'scm'
  properties: { allow: false }
}

// Easy Auth, besides the function key: without allowedPrincipals any application of the tenant would get in. Deployed in any case,
// so that an authClientId that is taken away switches it off.
resource tokens 'Microsoft.Web/sites/config@2025-03-01' = {
  parent: app
  name: 'authsettingsV2'
  properties: {
    platform: { enabled: !empty(authClientId) }
    globalValidation: {
      requireAuthentication: !empty(authClientId)
      unauthenticatedClientAction: empty(authClientId) ? 'AllowAnonymous' : 'Return401'
      excludedPaths: ['/api/health']
    }
    identityProviders: {
      azureActiveDirectory: {
        enabled: !empty(authClientId)
        registration: {
          clientId: authClientId
          openIdIssuer: 'https://sts.windows.net/${tenant().tenantId}/' // the issuer of version 1 tokens, which managed identities get
        }
        validation: {
          allowedAudiences: ['api://${authClientId}']
          // the platform has refused every caller where the list of applications was empty
          defaultAuthorizationPolicy: {
            allowedPrincipals: { identities: [playbookPrincipalId] }
            allowedApplications: [playbookClientId]
          }
        }
      }
    }
    httpSettings: { requireHttps: true }
    login: { tokenStore: { enabled: false } }
  }
}

@description('Name of the app.')
output name string = app.name

@description('Host name of the app.')
output hostName string = app.properties.defaultHostName
