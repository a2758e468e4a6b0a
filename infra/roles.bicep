// Every role assignment on our own resources, each on the one resource that needs it. The names are in roles.json.

@description('Storage account.')
param storageName string

@description('Table of links.')
param linksTableName string

@description('Table of customers.')
param customersTableName string

@description('Vault of the app.')
param appVaultName string

@description('Vault of the playbook.')
param playbookVaultName string

@description('Application Insights component.')
param applicationInsightsName string

@description('Object id of the app\'s identity.')
param appPrincipalId string

@description('Object id of the playbook\'s identity.')
param playbookPrincipalId string

@description('Object id of "Azure Security Insights" in this tenant; empty leaves its grant out.')
param securityInsightsPrincipalId string

@description('Object id of the group that adds customers; empty leaves its grant out.')
param onboardersGroupId string

var roleIds = loadJsonContent('roles.json')

resource storage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: storageName
}

resource tables 'Microsoft.Storage/storageAccounts/tableServices@2025-06-01' existing = {
  parent: storage
  name: 'default'
}

resource links 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-06-01' existing = {
  parent: tables
  name: linksTableName
}

resource customers 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-06-01' existing = {
  parent: tables
  name: customersTableName
}

resource appVault 'Microsoft.KeyVault/vaults@2026-02-01' existing = {
  name: appVaultName
}

resource playbookVault 'Microsoft.KeyVault/vaults@2026-02-01' existing = {
  name: playbookVaultName
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: applicationInsightsName
}

// The host keeps its keys and the timer's lock in blobs, and reads the package from one.
resource appBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: storage
  name: guid(storage.id, appPrincipalId, roleIds['Storage Blob Data Owner'])
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roleIds['Storage Blob Data Owner']
    )
  }
}

// On the one table, which the template makes: with it the app cannot say where tickets go.
resource appLinks 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: links
  name: guid(links.id, appPrincipalId, roleIds['Storage Table Data Contributor'])
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roleIds['Storage Table Data Contributor']
    )
  }
}

resource appCustomers 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: customers
  name: guid(customers.id, appPrincipalId, roleIds['Storage Table Data Reader'])
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roleIds['Storage Table Data Reader']
    )
  }
}

// Who adds customers by command.
resource onboardersCustomers 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(onboardersGroupId)) {
  scope: customers
  name: guid(customers.id, onboardersGroupId, roleIds['Storage Table Data Contributor'])
  properties: {
    principalId: onboardersGroupId
    principalType: 'Group'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roleIds['Storage Table Data Contributor']
    )
  }
}

resource appSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: appVault
  name: guid(appVault.id, appPrincipalId, roleIds['Key Vault Secrets User'])
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roleIds['Key Vault Secrets User']
    )
  }
}

resource appTelemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: applicationInsights
  name: guid(applicationInsights.id, appPrincipalId, roleIds['Monitoring Metrics Publisher'])
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roleIds['Monitoring Metrics Publisher']
    )
  }
}

resource playbookSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: playbookVault
  name: guid(playbookVault.id, playbookPrincipalId, roleIds['Key Vault Secrets User'])
  properties: {
    principalId: playbookPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roleIds['Key Vault Secrets User']
    )
  }
}

// Sentinel looks for this grant on the playbook's resource group, nowhere else: without it, no automation rule can run the playbook.
resource sentinelRunsPlaybook 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(securityInsightsPrincipalId)) {
  scope: resourceGroup()
  name: guid(resourceGroup().id, securityInsightsPrincipalId, roleIds['Microsoft Sentinel Automation Contributor'])
  properties: {
    principalId: securityInsightsPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roleIds['Microsoft Sentinel Automation Contributor']
    )
  }
}
