"""Events: one structured log record each, with the delivery's correlation; never a title, a body or a secret.

Through the worker's log channel the record's extra fields become customDimensions in Application Insights.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Self

_LOGGER: Final = logging.getLogger("contraforce_sentinel")
_ID: Final = re.compile(r"[\w.:-]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Correlation:
    """The ids by which a delivery is found again in the playbook's run history and in traces."""

    traceparent: str | None = None
    client_tracking_id: str | None = None
    workflow_run_id: str | None = None

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Self:
        """Take the ids of the caller's headers; one that does not look like an id is dropped."""
        names = ("traceparent", "x-ms-client-tracking-id", "x-ms-workflow-run-id")
        return cls(*(value if _ID.fullmatch(value := headers.get(name) or "") else None for name in names))


_correlation: ContextVar[Correlation] = ContextVar("correlation", default=Correlation())  # noqa: B039 - frozen


@contextmanager
def correlated(correlation: Correlation) -> Iterator[None]:
    """Every event inside carries these ids."""
    token = _correlation.set(correlation)
    try:
        yield
    finally:
        _correlation.reset(token)


def event(name: str, /, *, level: int = logging.INFO, **dimensions: str | float | None) -> None:
    """Log one event; dimensions that are None are left out.

    The caller gives ids, codes and numbers only. The message repeats the dimensions, for consoles.
    """
    ids = _correlation.get()
    found = {
        **dimensions,
        "traceparent": ids.traceparent,
        "client_tracking_id": ids.client_tracking_id,
        "workflow_run_id": ids.workflow_run_id,
    }
    present = {key: value for key, value in found.items() if value is not None}
    text = " ".join(f"{key}={value}" for key, value in present.items())
    _LOGGER.log(level, "%s %s", name, text, extra={"event": name, **present})
