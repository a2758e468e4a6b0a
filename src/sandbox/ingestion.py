"""Stand-in of Application Insights' ingestion endpoint: keeps what the exporters send.

The items are those of https://learn.microsoft.com/azure/azure-monitor/app/data-model-complete; Entra tokens
are asked for, as where local authentication is disabled.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sandbox.identity import ManagedIdentity
from sandbox.requestlog import LoggedRequest
from sandbox.service import Answer, Route, StandIn

AUDIENCE: Final = "https://monitor.azure.com"
INSTRUMENTATION_KEY: Final = "0a1b2c3d-0000-4000-8000-00000000abcd"


class Ingestion(StandIn):
    """Takes telemetry; `envelopes` are the items received so far, oldest first."""

    def __init__(self, identity: ManagedIdentity) -> None:
        super().__init__()
        self._identity = identity
        self.envelopes: list[dict[str, Any]] = []

    @property
    def connection_string(self) -> str:
        """What APPLICATIONINSIGHTS_CONNECTION_STRING is set to."""
        return (
            f"InstrumentationKey={INSTRUMENTATION_KEY};IngestionEndpoint={self.base_url};"
            f"LiveEndpoint={self.base_url}"
        )

    def items(self, kind: str) -> list[dict[str, Any]]:
        """Return the data of one kind of item, e.g. `EventData`, each with its envelope's tags beside it."""
        return [
            {**envelope["data"]["baseData"], "tags": envelope.get("tags", {})}
            for envelope in self.envelopes
            if envelope["data"]["baseType"] == kind
        ]

    def routes(self) -> Sequence[Route]:
        """Return the ingestion endpoint and those of live metrics."""
        return (
            Route("ingestion.track", "POST", r"/v2\.1/track", self._track),
            Route("ingestion.live", "POST", r"/QuickPulseService\.svc/.+", self._live),
        )

    def _track(self, request: LoggedRequest, _: Mapping[str, str]) -> Answer:
        issued = self._identity.tokens.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if issued is None or not issued.resource.startswith(AUDIENCE):
            return Answer(401, {"itemsReceived": 0, "itemsAccepted": 0, "errors": []})
        items = request.body if isinstance(request.body, list) else _lines(request.content)
        self.envelopes += items
        return Answer(200, {"itemsReceived": len(items), "itemsAccepted": len(items), "errors": []})

    def _live(self, _: LoggedRequest, __: Mapping[str, str]) -> Answer:
        return Answer(200, headers={"x-ms-qps-subscribed": "false"})


def _lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines() if line.strip()]
