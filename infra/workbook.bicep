// The page that an admin opens first, and the queries of docs/operate.md, beside the telemetry they read.

@description('Begins the names.')
param name string

@description('Azure region.')
param location string

@description('Tags.')
param tags object

@description('Name of the Log Analytics workspace of all telemetry.')
param logAnalyticsName string

var category = 'ContraForce ticket link'
var queries = [
  { name: 'authorization', query: loadTextContent('queries/authorization.kql') }
  { name: 'dead', query: loadTextContent('queries/dead.kql') }
  { name: 'durations', query: loadTextContent('queries/durations.kql') }
  { name: 'incident-life', query: loadTextContent('queries/incident-life.kql') }
  { name: 'merged', query: loadTextContent('queries/merged.kql') }
  { name: 'pending', query: loadTextContent('queries/pending.kql') }
  { name: 'refused-requests', query: loadTextContent('queries/refused-requests.kql') }
  { name: 'slow-upstreams', query: loadTextContent('queries/slow-upstreams.kql') }
  { name: 'throttling', query: loadTextContent('queries/throttling.kql') }
  { name: 'timer', query: loadTextContent('queries/timer.kql') }
  { name: 'unlinked-incidents', query: loadTextContent('queries/unlinked-incidents.kql') }
]

resource logAnalytics 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = {
  name: logAnalyticsName
}

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(logAnalytics.id, 'contraforce-ticket-link')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: '${name}: ${category}'
    category: 'workbook'
    sourceId: logAnalytics.id
    serializedData: loadTextContent('workbook.json')
    version: 'Notebook/1.0'
  }
}

// The first line of each file is its title: "// Dead links and why".
resource searches 'Microsoft.OperationalInsights/workspaces/savedSearches@2025-07-01' = [
  for found in queries: {
    parent: logAnalytics
    name: '${name}-${found.name}'
    etag: '*' // else the service refuses to replace what an earlier deployment left
    properties: {
      category: category
      displayName: skip(first(split(found.query, '\n')), 3)
      query: found.query
    }
  }
]
