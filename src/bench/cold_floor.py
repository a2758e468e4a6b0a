"""Run in a fresh process: the barest script with a managed-identity token and the two calls of a delivery."""

import json
import os

import httpx
from azure.identity import ManagedIdentityCredential

arm, contraforce = os.environ["ARM_ENDPOINT"], os.environ["CONTRAFORCE_API_URL"]
incident = json.loads(os.environ["BODY"])["object"]
workspace = json.loads(os.environ["WORKSPACES"])[0]["contraforceWorkspaceId"]
credential = ManagedIdentityCredential(client_id=os.environ["AZURE_CLIENT_ID"])
token = credential.get_token(f"{arm}/.default").token
with httpx.Client() as http:
    reference = {"id": incident["name"], "source": "Sentinel", "workspaceId": workspace, "number": "1"}
    linked = http.post(
        f"{contraforce}/workspaces/{workspace}/tickets/link",
        auth=(os.environ["CONTRAFORCE_CLIENT_ID"], os.environ["CONTRAFORCE_CLIENT_SECRET"]),
        json={"ticketId": None, "incident": reference},
    )
    linked.raise_for_status()
    put = http.put(
        f"{arm}{incident['id']}/comments/{incident['name']}?api-version=2021-10-01",
        headers={"Authorization": f"Bearer {token}"},
        json={"properties": {"message": "<p>Autotask ticket T20261123.0042</p>"}},
    )
    put.raise_for_status()
print(put.status_code, flush=True)  # noqa: T201
