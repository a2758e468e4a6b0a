// The ContraForce ticket link in one resource group: deploy this once, then customer.bicep for each customer.
//
//   storage.bicep     the package, the host's storage, the link table          no shared keys
//   vaults.bicep      one vault for the app, one for the playbook              neither may read the other's secret
//   monitoring.bicep  Log Analytics and Application Insights                   Entra-only ingestion
//   roles.bicep       every role assignment on these resources
//   app.bicep         the function app on Flex Consumption, and who may call it
//   playbook.bicep    the Logic App that Sentinel's automation rules run
//   alerts.bicep      what should wake somebody
//   workbook.bicep    the page and the queries for who looks

targetScope = 'resourceGroup'

type workspaceMapping = {
  @description('ARM id of the Log Analytics workspace with Microsoft Sentinel.')
  workspace: string

  @description('The customer\'s workspace in ContraForce.')
  contraforceWorkspaceId: string

  @description('Incidents of this customer below it get no ticket. Without it: the parameter minimumSeverity.')
  minimumSeverity: ('Informational' | 'Low' | 'Medium' | 'High')?

  @description('As the parameter ticketUrlTemplates, for this customer alone.')
  ticketUrlTemplates: object?
}

@description('Begins every resource\'s name.')
@minLength(3)
@maxLength(12)
param name string = 'ticketlink'

@description('Azure region of every resource.')
param location string = resourceGroup().location

@description('Tags of every resource.')
param tags object = {}

@description('The customers: each Sentinel workspace and its ContraForce workspace. Incidents of any other workspace are refused. None: the setting is left out, and the app runs without customers.')
param workspaces workspaceMapping[] = []

@description('Name of a JSON file in the package with the customers, instead of the array above: workspaces.json, for hundreds of them. Empty: the array.')
param workspacesFile string = ''

@description('Base of the ContraForce v2 API.')
param contraforceApiUrl string = 'https://portal.contraforce.com/api/v2'

@description('Client id of the ContraForce service account.')
param contraforceClientId string

@description('Secret of the ContraForce service account. Empty: the secret that the app\'s vault already holds is kept.')
@secure()
param contraforceClientSecret string = ''

@description('When ContraForce\'s secret ends, as 2027-11-30T00:00:00Z: kept beside it in the vault, so that tools can warn. Empty: it has no end.')
param credentialExpiresOn string = ''

@description('Incidents below this severity get no ticket, where the customer has no minimum of its own. Give customer.bicep the same.')
@allowed(['Informational', 'Low', 'Medium', 'High'])
param minimumSeverity string = 'Informational'

@description('When the timer looks for what is due or was missed: NCRONTAB with six fields, UTC.')
param reconcileSchedule string = '0 */5 * * * *'

@description('From how long before its first run the timer follows a workspace, in hours.')
@minValue(1)
@maxValue(2160)
param reconcileLookbackHours int = 24

@description('Linked and skipped records are removed after so many days.')
@minValue(1)
@maxValue(3650)
param linkRetentionDays int = 90

@description('Per ticket system (Autotask, ServiceNow, Jira) an https URL with {id} or {number}, to make the number clickable.')
param ticketUrlTemplates object = {}

@description('Resource Manager\'s address.')
param armEndpoint string = environment().resourceManager

@description('Instances that are always running and never start cold. They cost money while idle.')
@minValue(0)
@maxValue(10)
param alwaysReadyInstances int = 0

@description('Flex Consumption adds at most so many instances. 40 is the least that every region takes, and far more than one Sentinel asks for.')
@minValue(40)
@maxValue(1000)
param maximumInstances int = 40

@description('Client id of an app registration whose tokens the app demands besides the function key. Empty: the function key alone.')
param authClientId string = ''

@description('Admit callers from Azure Logic Apps and allowedIpRanges only. Off: any address may try, without a key in vain.')
param restrictInbound bool = false

@description('With restrictInbound: further address ranges (CIDR) that may call, for example the operators\'.')
param allowedIpRanges string[] = []

@description('Object id, in this tenant, of the service principal "Azure Security Insights" (application 98785600-1bb7-4fb9-b9fa-19afe2c8a360). Empty: the grant is made elsewhere.')
param securityInsightsPrincipalId string = ''

@description('Object id of the Entra group whose members add customers: they may write the table of customers. Empty: nobody may.')
param onboardersGroupId string = ''

@description('Action groups that an alert tells. Empty: alerts are only listed in the portal.')
param actionGroupIds string[] = []

@description('How the storage account keeps its copies. By default in three zones, or within one place in the regions that have none.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GZRS'])
param storageRedundancy string = contains(
    ['westus', 'northcentralus', 'westcentralus', 'ukwest', 'southindia', 'australiasoutheast'],
    toLower(replace(location, ' ', ''))
  )
  ? 'Standard_LRS'
  : 'Standard_ZRS'

@description('How long telemetry is kept, in days.')
@minValue(30)
@maxValue(730)
param telemetryRetentionDays int = 30

// Empty: the setting is left out. Where it is set, it is the whole list of customers.
var inSettings = empty(workspaces) ? '' : string(workspaces)
var customers = empty(workspacesFile) ? inSettings : '@/home/site/wwwroot/${workspacesFile}'
var playbookName = '${name}-playbook'
var suffix = uniqueString(resourceGroup().id)

resource appIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-app-identity'
  location: location
  tags: tags
}

resource playbookIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-playbook-identity'
  location: location
  tags: tags
}

module storage 'storage.bicep' = {
  name: 'storage'
  params: {
    name: 'link${suffix}'
    location: location
    tags: tags
    redundancy: storageRedundancy
  }
}

module monitoring 'monitoring.bicep' = {
  name: 'monitoring'
  params: {
    name: name
    location: location
    tags: tags
    retentionDays: telemetryRetentionDays
  }
}

module vaults 'vaults.bicep' = {
  name: 'vaults'
  params: {
    appVaultName: 'kv-app-${suffix}'
    playbookVaultName: 'kv-play-${suffix}'
    location: location
    tags: tags
    contraforceClientSecret: contraforceClientSecret
    credentialExpiresOn: credentialExpiresOn
    logAnalyticsId: monitoring.outputs.logAnalyticsId
  }
}

module roles 'roles.bicep' = {
  name: 'roles'
  params: {
    storageName: storage.outputs.name
    linksTableName: storage.outputs.linksTableName
    customersTableName: storage.outputs.customersTableName
    appVaultName: vaults.outputs.appVaultName
    playbookVaultName: vaults.outputs.playbookVaultName
    applicationInsightsName: monitoring.outputs.applicationInsightsName
    appPrincipalId: appIdentity.properties.principalId
    playbookPrincipalId: playbookIdentity.properties.principalId
    securityInsightsPrincipalId: securityInsightsPrincipalId
    onboardersGroupId: onboardersGroupId
  }
}

module app 'app.bicep' = {
  name: 'app'
  params: {
    name: '${name}-${suffix}'
    location: location
    tags: tags
    identityName: appIdentity.name
    storageName: storage.outputs.name
    packageContainerName: storage.outputs.packageContainerName
    applicationInsightsName: monitoring.outputs.applicationInsightsName
    credentialUri: vaults.outputs.credentialUri
    workspaces: customers
    contraforceApiUrl: contraforceApiUrl
    contraforceClientId: contraforceClientId
    minimumSeverity: minimumSeverity
    reconcileSchedule: reconcileSchedule
    reconcileLookbackHours: reconcileLookbackHours
    linkRetentionDays: linkRetentionDays
    ticketUrlTemplates: ticketUrlTemplates
    armEndpoint: armEndpoint
    alwaysReadyInstances: alwaysReadyInstances
    maximumInstances: maximumInstances
    authClientId: authClientId
    playbookPrincipalId: playbookIdentity.properties.principalId
    playbookClientId: playbookIdentity.properties.clientId
    playbookId: resourceId('Microsoft.Logic/workflows', playbookName)
    restrictInbound: restrictInbound
    allowedIpRanges: allowedIpRanges
  }
  dependsOn: [roles]
}

module playbook 'playbook.bicep' = {
  name: 'playbook'
  params: {
    name: playbookName
    location: location
    tags: tags
    identityName: playbookIdentity.name
    incidentsUrl: 'https://${app.outputs.hostName}/api/incidents'
    functionKeyUri: vaults.outputs.functionKeyUri
    authClientId: authClientId
    logAnalyticsId: monitoring.outputs.logAnalyticsId
  }
  dependsOn: [roles]
}

module alerts 'alerts.bicep' = {
  name: 'alerts'
  params: {
    name: name
    location: location
    tags: tags
    logAnalyticsId: monitoring.outputs.logAnalyticsId
    actionGroupIds: actionGroupIds
  }
}

module workbook 'workbook.bicep' = {
  name: 'workbook'
  params: {
    name: name
    location: location
    tags: tags
    logAnalyticsName: monitoring.outputs.logAnalyticsName
  }
}

@description('The function app, for the package and the function key.')
output functionAppName string = app.outputs.name

@description('Where the app says whether it can do its work.')
output healthUrl string = 'https://${app.outputs.hostName}/api/health'

@description('The vault with the ContraForce secret.')
output appVaultName string = vaults.outputs.appVaultName

@description('The vault with the playbook\'s function key.')
output playbookVaultName string = vaults.outputs.playbookVaultName

@description('For customer.bicep: the playbook that the automation rule runs.')
output playbookId string = playbook.outputs.id

@description('For customer.bicep: who reads incidents and writes comments.')
output appPrincipalId string = appIdentity.properties.principalId

@description('For customer.bicep: whose connection receives the trigger.')
output playbookPrincipalId string = playbookIdentity.properties.principalId

@description('For customer.bicep: the tenant of the playbook.')
output tenantId string = tenant().tenantId
