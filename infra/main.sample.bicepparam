// Copy to main.bicepparam and fill in. Secrets come from the environment, never from this file.
using 'main.bicep'

param workspaces = [
  {
    workspace: '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg-secops/providers/Microsoft.OperationalInsights/workspaces/law-sentinel'
    contraforceWorkspaceId: '00000000-0000-0000-0000-000000000000'
  }
]
param contraforceClientId = '00000000-0000-0000-0000-000000000000'
param contraforceClientSecret = readEnvironmentVariable('CONTRAFORCE_CLIENT_SECRET', '')
param securityInsightsPrincipalId = readEnvironmentVariable('SECURITY_INSIGHTS_PRINCIPAL_ID', '')

// The rest has defaults; main.bicep describes each.
param minimumSeverity = 'Informational'
param alwaysReadyInstances = 0
param ticketUrlTemplates = {}
param actionGroupIds = []
