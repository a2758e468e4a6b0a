"""Stand-in of the one Azure CLI command that doctor names for a missing role, against the sandbox.

    az role assignment create --assignee ID --role NAME --scope ARM_ID

https://learn.microsoft.com/rest/api/authorization/role-assignments/create
"""

import os
import ssl
import sys
from argparse import ArgumentParser
from uuid import uuid4

import httpx


def main() -> int:
    """Carry the command out; returns 0, or 1 with what the sandbox said."""
    parser = ArgumentParser(prog="az", description="The sandbox's stand-in of the Azure CLI.")
    parser.add_argument("words", nargs=3, metavar="role assignment create")
    for option in ("assignee", "role", "scope"):
        parser.add_argument(f"--{option}", required=True)
    arguments = parser.parse_args()
    if arguments.words != ["role", "assignment", "create"]:
        parser.error("only: az role assignment create")
    with httpx.Client(verify=ssl.create_default_context(), trust_env=False) as http:
        token = http.get(
            os.environ["IDENTITY_ENDPOINT"],
            params={"api-version": "2019-08-01", "resource": os.environ["ARM_ENDPOINT"]},
            headers={"X-IDENTITY-HEADER": os.environ["IDENTITY_HEADER"]},
        )
        answer = http.put(
            f"{os.environ['ARM_ENDPOINT']}{arguments.scope}"
            f"/providers/Microsoft.Authorization/roleAssignments/{uuid4()}",
            params={"api-version": "2022-04-01"},
            headers={"Authorization": f"Bearer {token.json()['access_token']}"},
            json={"properties": {"principalId": arguments.assignee, "roleDefinitionId": arguments.role}},
        )
    sys.stdout.write(answer.text + "\n")
    return 0 if answer.is_success else 1


if __name__ == "__main__":
    sys.exit(main())
