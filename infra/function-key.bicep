// The playbook's function key: made here, set in the app and in the playbook's vault in one step, seen by nobody.
// Deploy it after the package (the function has to exist), and again to replace the key.

@description('The function app: output functionAppName of main.bicep.')
param functionAppName string

@description('The playbook\'s vault: output playbookVaultName of main.bicep.')
param playbookVaultName string

@description('The key. Leave it out: a new one is made.')
@secure()
param functionKey string = '${newGuid()}${newGuid()}'

resource app 'Microsoft.Web/sites@2025-03-01' existing = {
  name: functionAppName

  resource linkIncident 'functions@2025-03-01' existing = {
    name: 'link_incident'
  }
}

resource key 'Microsoft.Web/sites/functions/keys@2025-03-01' = {
  parent: app::linkIncident
  name: 'playbook'
  // the published type has the value one level higher than the service takes it
  #disable-next-line BCP187 BCP037
  properties: { name: 'playbook', value: functionKey }
}

resource vault 'Microsoft.KeyVault/vaults@2026-02-01' existing = {
  name: playbookVaultName
}

resource secret 'Microsoft.KeyVault/vaults/secrets@2026-02-01' = {
  parent: vault
  name: 'playbook-function-key'
  properties: { value: functionKey }
  dependsOn: [key] // the playbook must not read a key that the app does not know yet
}
