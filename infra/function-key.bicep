// The playbook's function key: made here, set in the app and in the playbook's vault in one step, seen by nobody.
// Deploy it after the package (the function has to exist), and again to replace the key.

@description('The function app: output functionAppName of main.bicep.')
param functionAppName string

@description('The playbook\'s vault: output playbookVaultName of main.bicep.')
param playbookVaultName string

@description('The key. Leave it out: a new one is made.')
@secure()
param functionKey string = '${newGuid()}${newGuid()}'

@description('When the key should be replaced, as 2027-11-30T00:00:00Z: kept beside it in the vault, so that tools can warn. By default in a year.')
param replaceBy string = dateTimeAdd(utcNow(), 'P1Y')

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
  properties: {
    value: functionKey
    contentType: 'function key link_incident/playbook'
    attributes: { exp: dateTimeToEpoch(replaceBy) } // a hint for tools: Key Vault gives it out after that, too
  }
  dependsOn: [key] // the playbook must not read a key that the app does not know yet
}
