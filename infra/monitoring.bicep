// Where telemetry goes. Ingestion takes Entra tokens only, so the connection string is no secret.

@description('Begins the names.')
param name string

@description('Azure region.')
param location string

@description('Tags.')
param tags object

@description('How long telemetry is kept, in days.')
param retentionDays int

resource logAnalytics 'Microsoft.OperationalInsights/workspaces@2025-07-01' = {
  name: '${name}-logs'
  location: location
  tags: tags
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: retentionDays
    features: { disableLocalAuth: true }
  }
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' = {
  name: '${name}-insights'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: logAnalytics.id
    DisableLocalAuth: true
  }
}

@description('The Log Analytics workspace of all telemetry.')
output logAnalyticsId string = logAnalytics.id

@description('Its name.')
output logAnalyticsName string = logAnalytics.name

@description('The Application Insights component.')
output applicationInsightsName string = applicationInsights.name
