// What should wake somebody. Each query is a file beside this one, and every row that it returns is a finding.

@description('Begins the names.')
param name string

@description('Azure region.')
param location string

@description('Tags.')
param tags object

@description('The Log Analytics workspace of all telemetry.')
param logAnalyticsId string

@description('Whom an alert tells; empty: nobody.')
param actionGroupIds string[]

var alerts = [
  {
    name: 'dead-links'
    title: 'Incidents that will get no ticket comment unless somebody acts'
    query: loadTextContent('alerts/dead-links.kql')
    each: [{ name: 'Incident', operator: 'Include', values: ['*'] }] // an alert that is on says nothing more: one for each incident
    severity: 1
    window: 'PT15M'
  }
  {
    name: 'overdue-links'
    title: 'Links that have been due for more than 30 minutes'
    query: loadTextContent('alerts/overdue-links.kql')
    each: []
    severity: 2
    window: 'PT15M'
  }
  {
    name: 'authorization-failures'
    title: 'A role, a scope or a credential is missing'
    query: loadTextContent('alerts/authorization-failures.kql')
    each: [{ name: 'Workspace', operator: 'Include', values: ['*'] }]
    severity: 1
    window: 'PT15M'
  }
  {
    name: 'timer-silent'
    title: 'The timer has not finished a run for 20 minutes'
    query: loadTextContent('alerts/timer-silent.kql')
    each: []
    severity: 1
    window: 'PT30M'
  }
  {
    name: 'failed-playbook-runs'
    title: 'The playbook fails'
    query: loadTextContent('alerts/failed-playbook-runs.kql')
    each: []
    severity: 2
    window: 'PT15M'
  }
]

resource rules 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for alert in alerts: {
    name: '${name}-${alert.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: '${name}: ${alert.title}'
      severity: alert.severity
      enabled: true
      scopes: [logAnalyticsId]
      evaluationFrequency: 'PT5M'
      windowSize: alert.window
      // the tables come into being with their first row: a new deployment has none yet
      skipQueryValidation: true
      autoMitigate: true
      criteria: {
        allOf: [
          {
            query: alert.query
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
            dimensions: alert.each
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      actions: { actionGroups: actionGroupIds }
    }
  }
]
