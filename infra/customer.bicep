// One customer: deploy it into the resource group of the customer's Sentinel workspace, once for each workspace. It gives the app and
// the playbook their roles there, and makes the automation rule. main.bicep has to list the workspace, too.

targetScope = 'resourceGroup'

@description('Name of the Log Analytics workspace with Microsoft Sentinel, in this resource group.')
param workspaceName string

@description('Output playbookId of main.bicep.')
param playbookId string

@description('Output tenantId of main.bicep: the tenant of the playbook.')
param playbookTenantId string = tenant().tenantId

@description('Output appPrincipalId of main.bicep.')
param appPrincipalId string

@description('Output playbookPrincipalId of main.bicep.')
param playbookPrincipalId string

@description('The customer\'s minimum severity, or else minimumSeverity of main.bicep: the rule runs for this severity and above.')
@allowed(['Informational', 'Low', 'Medium', 'High'])
param minimumSeverity string = 'Informational'

@description('Off where the customer\'s subscription is delegated by Azure Lighthouse: there the delegation grants both roles.')
param assignRoles bool = true

@description('Give the app a role of four actions, made here, instead of the built-in Microsoft Sentinel Responder.')
param useLeastPrivilegeRole bool = false

@description('Place of the rule among the workspace\'s automation rules, which run one after another.')
@minValue(1)
@maxValue(1000)
param ruleOrder int = 100

@description('The rule can be deployed switched off, and switched on in the portal.')
param ruleEnabled bool = true

var roleIds = loadJsonContent('roles.json')
var severities = ['Informational', 'Low', 'Medium', 'High']
var leastPrivilegeActions = [
  'Microsoft.OperationalInsights/workspaces/read'
  'Microsoft.SecurityInsights/incidents/read'
  'Microsoft.SecurityInsights/incidents/comments/read'
  'Microsoft.SecurityInsights/incidents/comments/write'
]

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = {
  name: workspaceName
}

resource leastPrivilege 'Microsoft.Authorization/roleDefinitions@2022-04-01' = if (assignRoles && useLeastPrivilegeRole) {
  name: guid(workspace.id, 'contraforce-ticket-link')
  properties: {
    roleName: 'ContraForce ticket link (${workspaceName}, ${uniqueString(workspace.id)})' // unique in a tenant
    description: 'Reads Microsoft Sentinel incidents and writes their comments.'
    type: 'CustomRole'
    permissions: [{ actions: leastPrivilegeActions, notActions: [] }]
    assignableScopes: [resourceGroup().id]
  }
}

resource appLeastPrivilege 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (assignRoles && useLeastPrivilegeRole) {
  scope: workspace
  name: guid(workspace.id, appPrincipalId, 'contraforce-ticket-link')
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', leastPrivilege.name)
  }
}

resource appResponds 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (assignRoles && !useLeastPrivilegeRole) {
  scope: workspace
  name: guid(workspace.id, appPrincipalId, roleIds['Microsoft Sentinel Responder'])
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roleIds['Microsoft Sentinel Responder']
    )
  }
}

// The Sentinel connector asks for this of whoever receives its trigger.
resource playbookReads 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (assignRoles) {
  scope: workspace
  name: guid(workspace.id, playbookPrincipalId, roleIds['Microsoft Sentinel Reader'])
  properties: {
    principalId: playbookPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roleIds['Microsoft Sentinel Reader']
    )
  }
}

// Created only: our own comment updates the incident, and an update rule would run again for it.
resource rule 'Microsoft.SecurityInsights/automationRules@2025-09-01' = {
  scope: workspace
  name: guid(workspace.id, 'contraforce-ticket-link')
  properties: {
    displayName: 'Link the ContraForce ticket'
    order: ruleOrder
    triggeringLogic: {
      isEnabled: ruleEnabled
      triggersOn: 'Incidents'
      triggersWhen: 'Created'
      conditions: [
        {
          conditionType: 'Property'
          conditionProperties: {
            propertyName: 'IncidentSeverity'
            operator: 'Equals'
            propertyValues: skip(severities, indexOf(severities, minimumSeverity))
          }
        }
      ]
    }
    actions: [
      {
        order: 1
        actionType: 'RunPlaybook'
        actionConfiguration: { logicAppResourceId: playbookId, tenantId: playbookTenantId }
      }
    ]
  }
}

@description('The automation rule, for its removal.')
output ruleId string = rule.id
