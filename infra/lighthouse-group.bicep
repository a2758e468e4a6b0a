// The delegation of one resource group: lighthouse.bicep deploys it.

@description('The definition of the delegation.')
param definitionId string

resource assignment 'Microsoft.ManagedServices/registrationAssignments@2022-10-01' = {
  name: guid(resourceGroup().id, definitionId)
  properties: { registrationDefinitionId: definitionId }
}
