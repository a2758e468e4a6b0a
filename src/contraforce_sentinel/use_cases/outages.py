"""Which customers' links are left alone for now, because a service that they need fails in a row; pure."""

from collections import Counter, defaultdict
from typing import Final

from contraforce_sentinel.domain.incidents import WorkspaceId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.reasons import Reason
from contraforce_sentinel.domain.records import LinkState

_IN_A_ROW: Final = 3
_WORKSPACES: Final = 3
_OF_ALL: Final = frozenset(
    {Reason.CONTRAFORCE_UNAVAILABLE, Reason.IDENTITY_UNAVAILABLE, Reason.IDENTITY_UNAUTHORIZED}
)
_BEFORE_THE_TICKET: Final = frozenset(
    {
        Reason.CONTRAFORCE_UNAVAILABLE,
        Reason.CONTRAFORCE_UNAUTHORIZED,
        Reason.RESOURCE_MANAGER_UNAVAILABLE,
        Reason.RESOURCE_MANAGER_UNAUTHORIZED,
    }
)
_ALWAYS: Final = frozenset(
    {
        Reason.IDENTITY_UNAVAILABLE,
        Reason.IDENTITY_UNAUTHORIZED,
        Reason.SENTINEL_UNAVAILABLE,
        Reason.SENTINEL_UNAUTHORIZED,
        Reason.WORKSPACE_NOT_FOUND,
        Reason.WORKSPACE_BLOCKED,
    }
)
_ANSWERED: Final = frozenset(
    {
        Reason.CONTRAFORCE_MALFORMED,
        Reason.CONTRAFORCE_REJECTED,
        Reason.CONTRAFORCE_UNAUTHORIZED,
        Reason.NO_TICKET_YET,
        Reason.NOT_INGESTED_YET,
    }
)
"""ContraForce, and the identity before it, have done their work."""
_ALL: Final = _ALWAYS | _BEFORE_THE_TICKET


class Outages:
    """Three failures of one workspace in a row are an outage for that workspace and nobody else.

    Of a service that all share it is everybody's once three workspaces have it, until it answers one.
    """

    def __init__(self) -> None:
        self._in_a_row: dict[str, Counter[str]] = defaultdict(Counter)
        self._out: dict[str, set[str]] = defaultdict(set)

    def note(self, link: Link) -> None:
        """Learn from a link that was just tried."""
        workspace = link.incident_id.workspace.key
        if link.state is LinkState.LINKED or link.reason in _ANSWERED:
            self._out.clear()
        if link.reason not in _ALL:
            self._in_a_row.pop(workspace, None)
            return
        self._in_a_row[workspace][link.reason] += 1
        if link.reason in _OF_ALL and self._in_a_row[workspace][link.reason] >= _IN_A_ROW:
            self._out[link.reason].add(workspace)

    def affect(self, workspace: WorkspaceId, *, has_ticket: bool) -> bool:
        """Whether a service that a link of the workspace needs is out."""
        needed = _ALWAYS if has_ticket else _ALL
        in_a_row = self._in_a_row.get(workspace.key, Counter())
        return any(
            in_a_row[reason] >= _IN_A_ROW or len(self._out[reason]) >= _WORKSPACES for reason in needed
        )
