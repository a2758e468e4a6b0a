// For the test of the type checker: each line with BROKEN on it has a fault, no other has.

param location string
param unused string // BROKEN

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  name: 'example'
  location: location
  kind: 'StorageV3' // BROKEN
  sku: { name: 'Standard_LRS' }
  properties: {
    minimumTLSVersion: 'TLS1_2' // BROKEN
    allowSharedKeyAccess: 'no' // BROKEN
    primaryEndpoints: {} // BROKEN
  }
}

resource vault 'Microsoft.KeyVault/vault@2024-11-01' = { // BROKEN
  name: 'example'
  location: location
}

module storage '../../../infra/storage.bicep' = {
  name: 'storage'
  params: {
    name: 'example'
    location: loc // BROKEN
    tags: {}
    redundancy: 'Standard_LRS'
    size: 1 // BROKEN
  }
}

output key string = account.properties.primaryEndpoint.blob // BROKEN
output link string = storage.outputs.name
