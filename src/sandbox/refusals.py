"""Pure: the codes with which Resource Manager refuses, whatever is asked for behind it.

https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Refusal:
    """The status that a code comes with, and what it is answered to."""

    status: int
    concerns: Literal["everything", "sentinel", "writes"]


REFUSALS: Final[Mapping[str, Refusal]] = {
    "SubscriptionNotFound": Refusal(404, "everything"),
    "InvalidSubscriptionId": Refusal(404, "everything"),
    "ResourceGroupNotFound": Refusal(404, "everything"),
    "ResourceNotFound": Refusal(404, "everything"),
    "ParentResourceNotFound": Refusal(404, "sentinel"),
    "InvalidResourceNamespace": Refusal(404, "sentinel"),
    "InvalidAuthenticationTokenTenant": Refusal(401, "everything"),
    "MissingSubscriptionRegistration": Refusal(409, "sentinel"),
    "MissingRegistrationForLocation": Refusal(409, "sentinel"),
    "NoRegisteredProviderFound": Refusal(400, "sentinel"),
    "RequestDisallowedByPolicy": Refusal(403, "writes"),
    "ScopeLocked": Refusal(409, "writes"),
    "ReadOnlyDisabledSubscription": Refusal(409, "writes"),
}


def applies(code: str, *, is_of_sentinel: bool, is_write: bool) -> bool:
    """Whether a request is refused with a code that holds where it leads."""
    concerns = REFUSALS[code].concerns
    return {"everything": True, "sentinel": is_of_sentinel, "writes": is_write}[concerns]


def missing(arm_id: str, there: Iterable[str]) -> str:
    """Return the code for a workspace that is none of those that are there, all in lower case."""
    wanted = arm_id.lower().split("/")
    known = [one.split("/") for one in there]
    if all(one[:3] != wanted[:3] for one in known):
        return "SubscriptionNotFound"
    return "ResourceGroupNotFound" if all(one[:5] != wanted[:5] for one in known) else "ResourceNotFound"
