// The playbook: what Sentinel's automation rules run for an incident. It reads the function key from its vault, sends the incident's
// trimmed reference to the app, and keeps neither key nor incident in its run history.

@description('Name of the playbook.')
param name string

@description('Azure region.')
param location string

@description('Tags.')
param tags object

@description('The playbook\'s identity.')
param identityName string

@description('Address of POST /api/incidents.')
param incidentsUrl string

@description('Address of the function key in the playbook\'s vault.')
param functionKeyUri string

@description('App registration whose tokens the app demands; empty for the function key alone.')
param authClientId string

@description('Where run logs and metrics go.')
param logAnalyticsId string

var secretData = { secureData: { properties: ['inputs', 'outputs'] } }
var keyVaultAudience = 'https://${skip(environment().suffixes.keyvaultDns, 1)}'
var linkInputs = {
  method: 'POST'
  uri: incidentsUrl
  headers: {
    'Content-Type': 'application/json'
    'x-functions-key': '''@body('Get_function_key')?['value']'''
  }
  // No title, alerts or comments: what the link needs of the incident, and nothing else.
  body: {
    workspaceInfo: '''@triggerBody()?['workspaceInfo']'''
    workspaceId: '''@triggerBody()?['workspaceId']'''
    object: {
      id: '''@triggerBody()?['object']?['id']'''
      name: '''@triggerBody()?['object']?['name']'''
      properties: {
        incidentNumber: '''@triggerBody()?['object']?['properties']?['incidentNumber']'''
        severity: '''@triggerBody()?['object']?['properties']?['severity']'''
        status: '''@triggerBody()?['object']?['properties']?['status']'''
        labels: '''@triggerBody()?['object']?['properties']?['labels']'''
        createdTimeUtc: '''@triggerBody()?['object']?['properties']?['createdTimeUtc']'''
        providerIncidentId: '''@triggerBody()?['object']?['properties']?['providerIncidentId']'''
      }
    }
  }
  // 408, 429 and 5xx are sent again; what the app has recorded (202) is the timer's.
  retryPolicy: {
    type: 'exponential'
    count: 4
    interval: 'PT5S'
    minimumInterval: 'PT5S'
    maximumInterval: 'PT1M'
  }
}
var token = {
  authentication: {
    type: 'ManagedServiceIdentity'
    identity: identity.id
    audience: 'api://${authClientId}'
  }
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource connection 'Microsoft.Web/connections@2016-06-01' = {
  name: '${name}-sentinel'
  location: location
  tags: tags
  properties: {
    displayName: 'Microsoft Sentinel, as the playbook\'s identity'
    api: { id: subscriptionResourceId('Microsoft.Web/locations/managedApis', location, 'azuresentinel') }
    // makes the connection use a managed identity; the published type lacks it
    #disable-next-line BCP037
    parameterValueType: 'Alternative'
  }
}

resource playbook 'Microsoft.Logic/workflows@2019-05-01' = {
  name: name
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identity.id}': {} }
  }
  properties: {
    state: 'Enabled'
    definition: {
      '$schema': 'https://schema.management.azure.com/providers/Microsoft.Logic/schemas/2016-06-01/workflowdefinition.json#'
      contentVersion: '1.0.0.0'
      parameters: {
        '$connections': { type: 'Object', defaultValue: {} }
      }
      triggers: {
        Microsoft_Sentinel_incident: {
          type: 'ApiConnectionWebhook'
          inputs: {
            host: { connection: { name: '''@parameters('$connections')['azuresentinel']['connectionId']''' } }
            body: { callback_url: '@{listCallbackUrl()}' }
            path: '/incident-creation'
          }
          runtimeConfiguration: { secureData: { properties: ['outputs'] } }
        }
      }
      actions: {
        Get_function_key: {
          type: 'Http'
          runAfter: {}
          inputs: {
            method: 'GET'
            uri: '${functionKeyUri}?api-version=7.4'
            authentication: {
              type: 'ManagedServiceIdentity'
              identity: identity.id
              audience: keyVaultAudience
            }
            retryPolicy: { type: 'fixed', count: 3, interval: 'PT5S' }
          }
          runtimeConfiguration: secretData
        }
        Link_ticket: {
          type: 'Http'
          runAfter: { Get_function_key: ['Succeeded'] }
          inputs: union(linkInputs, empty(authClientId) ? {} : token)
          operationOptions: 'DisableAsyncPattern' // 202 is an answer here, nothing to poll
          runtimeConfiguration: secretData
        }
      }
      outputs: {}
    }
    parameters: {
      '$connections': {
        value: {
          azuresentinel: {
            id: subscriptionResourceId('Microsoft.Web/locations/managedApis', location, 'azuresentinel')
            connectionId: connection.id
            connectionName: connection.name
            connectionProperties: {
              authentication: { type: 'ManagedServiceIdentity', identity: identity.id }
            }
          }
        }
      }
    }
  }
}

// the rule asks for 2016-09-01, which knows none of these properties
#disable-next-line use-recent-api-versions
resource runs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: playbook
  name: 'runs'
  properties: {
    workspaceId: logAnalyticsId
    logs: [{ category: 'WorkflowRuntime', enabled: true }]
    metrics: [{ category: 'AllMetrics', enabled: true }]
  }
}

@description('The playbook.')
output id string = playbook.id
