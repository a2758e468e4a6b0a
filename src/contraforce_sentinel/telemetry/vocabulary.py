"""The words that queries, workbook and alerts are written in: events, metrics, spans, and their dimensions.

`docs/operate.md` explains them. Tests compare call sites, document and every KQL text with these tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

CORRELATION: Final = frozenset(
    {
        "incident",
        "incident_number",
        "workspace",
        "traceparent",
        "client_tracking_id",
        "workflow_run_id",
    }
)
"""Any event may carry these: what it is about, and the ids of the playbook's run."""

_LINK: Final = frozenset(
    {
        "trigger",
        "outcome",
        "reason",
        "code",
        "attempt",
        "ticket_system",
        "ticket_number",
        "contraforce_request_id",
        "next_try_at",
    }
)
_OUTCOME: Final = _LINK | {"claimed", "duration_ms", "may_have_linked"}
_FAILURE: Final = frozenset(
    {
        "upstream",
        "error",
        "status",
        "code",
        "contraforce_request_id",
        "retry_after_seconds",
        "advice",
        "may_have_linked",
    }
)

EVENTS: Final[Mapping[str, frozenset[str]]] = {
    "link.linked": _OUTCOME,
    "link.pending": _OUTCOME,
    "link.ticketed": _OUTCOME,
    "link.skipped": _OUTCOME,
    "link.dead": _OUTCOME,
    "link.merged": _LINK,
    "link.revived": _LINK | {"was", "may_have_linked"},
    "ticket.not-recorded": frozenset({"ticket_system", "ticket_number", "contraforce_request_id"}),
    "upstream.unauthorized": _FAILURE,
    "upstream.unavailable": _FAILURE,
    "upstream.failed": _FAILURE,
    "upstream.throttled": frozenset({"upstream", "status", "retry_after_seconds"}),
    "link.unexpected": frozenset({"error", "where"}),
    "record.unreadable": frozenset({"error"}),
    "reconcile.run": frozenset(
        {
            "tried",
            "linked",
            "discovered",
            "removed",
            "failed_workspaces",
            "unreadable",
            "left_to_backfill",
            "dead",
            "oldest_due_at",
            "oldest_due_seconds",
            "duration_ms",
        }
    ),
    "reconcile.failed": frozenset({"error"}),
    "reconcile.workspace-failed": frozenset({"error", "advice"}),
    "reconcile.link-failed": frozenset({"error"}),
    "discovery.unreadable": frozenset({"error"}),
    "discovery.cut-short": frozenset({"error"}),
    "feed.stuck": frozenset({"moment"}),
    "request.refused": frozenset({"status", "code", "error"}),
    "setting.left-out": frozenset({"setting", "error"}),
}
"""Each event's own dimensions; those of `CORRELATION` come on top."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A measured number: how it is summed up, its unit (UCUM) and its dimensions."""

    kind: Literal["counter", "histogram", "gauge"]
    unit: str
    dimensions: frozenset[str] = frozenset()


METRICS: Final[Mapping[str, Metric]] = {
    "link.outcomes": Metric("counter", "1", frozenset({"outcome", "trigger"})),
    "link.duration": Metric("histogram", "ms", frozenset({"outcome", "trigger"})),
    "upstream.duration": Metric("histogram", "ms", frozenset({"upstream", "status"})),
    "pace.wait": Metric("histogram", "ms", frozenset({"subscription"})),
    "backlog.oldest_due_age": Metric("gauge", "s"),
    "backlog.dead": Metric("gauge", "1"),
}

SPANS: Final[Mapping[str, frozenset[str]]] = {
    "link incident": frozenset({"incident", "workspace", "trigger", "outcome"}),
}
"""Our own spans; those of requests are the instrumentation's of httpx."""
