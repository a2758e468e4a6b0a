// Two vaults, because a role on a vault opens every secret in it: the playbook must not read ContraForce's secret.

@description('Vault of the app: ContraForce\'s secret.')
@minLength(3)
@maxLength(24)
param appVaultName string

@description('Vault of the playbook: its function key.')
@minLength(3)
@maxLength(24)
param playbookVaultName string

@description('Azure region.')
param location string

@description('Tags.')
param tags object

@description('Secret of the ContraForce service account. Empty: the one that is there is kept.')
@secure()
param contraforceClientSecret string

@description('When that secret ends; empty for never.')
param credentialExpiresOn string

@description('Where the vaults\' audit log goes.')
param logAnalyticsId string

var vaultProperties = {
  tenantId: tenant().tenantId
  sku: { family: 'A', name: 'standard' }
  enableRbacAuthorization: true
  enableSoftDelete: true
  enablePurgeProtection: true
  softDeleteRetentionInDays: 7
  networkAcls: { defaultAction: 'Allow', bypass: 'AzureServices' }
}

resource appVault 'Microsoft.KeyVault/vaults@2026-02-01' = {
  name: appVaultName
  location: location
  tags: tags
  properties: vaultProperties
}

resource playbookVault 'Microsoft.KeyVault/vaults@2026-02-01' = {
  name: playbookVaultName
  location: location
  tags: tags
  properties: vaultProperties
}

resource contraforceSecret 'Microsoft.KeyVault/vaults/secrets@2026-02-01' = if (!empty(contraforceClientSecret)) {
  parent: appVault
  name: 'contraforce-client-secret'
  properties: {
    value: contraforceClientSecret
    contentType: 'secret of the ContraForce service account'
    attributes: empty(credentialExpiresOn) ? {} : { exp: dateTimeToEpoch(credentialExpiresOn) }
  }
}

// the rule asks for 2016-09-01, which knows none of these properties
#disable-next-line use-recent-api-versions
resource appVaultAudit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: appVault
  name: 'audit'
  properties: {
    workspaceId: logAnalyticsId
    logs: [{ category: 'AuditEvent', enabled: true }]
  }
}

// the rule asks for 2016-09-01, which knows none of these properties
#disable-next-line use-recent-api-versions
resource playbookVaultAudit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: playbookVault
  name: 'audit'
  properties: {
    workspaceId: logAnalyticsId
    logs: [{ category: 'AuditEvent', enabled: true }]
  }
}

@description('Vault of the app.')
output appVaultName string = appVault.name

@description('Vault of the playbook.')
output playbookVaultName string = playbookVault.name

@description('Address of ContraForce\'s secret, without a version: the newest counts.')
output credentialUri string = '${appVault.properties.vaultUri}secrets/contraforce-client-secret'

@description('Address of the playbook\'s function key; function-key.bicep writes it.')
output functionKeyUri string = '${playbookVault.properties.vaultUri}secrets/playbook-function-key'
