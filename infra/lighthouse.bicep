// A customer delegates his Sentinel to the provider: deploy it in the customer's tenant, once for each subscription. customer.bicep
// then makes the automation rule, with assignRoles off. Azure Lighthouse takes built-in roles without data actions only.
//
// Roles go to groups of the provider's tenant, so that an identity that was lost costs a new member and no new signature.

targetScope = 'subscription'

@description('Name of the offer, which the customer sees. Deployed again with the same name, it replaces what it granted before.')
param offerName string = 'ContraForce ticket link'

@description('The provider\'s tenant: output tenantId of main.bicep.')
param managedByTenantId string

@description('Object id of the provider\'s group with the app\'s identity: it reads incidents and writes comments.')
param appGroupId string

@description('Object id of the provider\'s group with the playbook\'s identity: it receives the trigger.')
param playbookGroupId string

@description('Object id of the provider\'s group of people who make the automation rule and may end the delegation. Empty: the app\'s group may end it, and the customer makes the rule.')
param operatorsGroupId string = ''

@description('The resource groups of the Sentinel workspaces. Empty: the whole subscription.')
param resourceGroupNames string[] = []

var roleIds = loadJsonContent('roles.json')
var identities = [
  {
    principalId: appGroupId
    principalIdDisplayName: 'Ticket link: the app reads incidents and writes comments'
    roleDefinitionId: roleIds['Microsoft Sentinel Responder']
  }
  {
    principalId: playbookGroupId
    principalIdDisplayName: 'Ticket link: the playbook receives the trigger'
    roleDefinitionId: roleIds['Microsoft Sentinel Reader']
  }
  {
    principalId: empty(operatorsGroupId) ? appGroupId : operatorsGroupId
    principalIdDisplayName: 'Ticket link: the provider may end this delegation'
    roleDefinitionId: roleIds['Managed Services Registration Assignment Delete']
  }
]
var operators = [
  {
    principalId: operatorsGroupId
    principalIdDisplayName: 'Ticket link: operators make the automation rule'
    roleDefinitionId: roleIds['Microsoft Sentinel Responder']
  }
]

// The same names every time: what is deployed again changes this delegation and makes no second one.
resource definition 'Microsoft.ManagedServices/registrationDefinitions@2022-10-01' = {
  name: guid(subscription().id, managedByTenantId, offerName)
  properties: {
    registrationDefinitionName: offerName
    description: 'Links Microsoft Sentinel incidents with their service desk tickets.'
    managedByTenantId: managedByTenantId
    authorizations: concat(identities, empty(operatorsGroupId) ? [] : operators)
  }
}

resource ofSubscription 'Microsoft.ManagedServices/registrationAssignments@2022-10-01' = if (empty(resourceGroupNames)) {
  name: guid(subscription().id, definition.id)
  properties: { registrationDefinitionId: definition.id }
}

module ofGroups 'lighthouse-group.bicep' = [
  for resourceGroupName in resourceGroupNames: {
    name: 'ticketlink-${uniqueString(offerName, resourceGroupName)}'
    scope: resourceGroup(resourceGroupName)
    params: { definitionId: definition.id }
  }
]
