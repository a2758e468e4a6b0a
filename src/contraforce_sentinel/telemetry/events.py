"""Events, metrics and spans, with the ids of the delivery; never a title, a body or a secret.

Events are log records whose extra fields become the Properties of a row in AppEvents. Metrics and spans go to
OpenTelemetry, which the Functions worker sets up where telemetry is on; where it is off, the package is not
even imported, and both cost a look into a dictionary.
"""

import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import MappingProxyType
from typing import Final

from contraforce_sentinel.telemetry.vocabulary import METRICS

_NAME: Final = "contraforce_sentinel"
_LOGGER: Final = logging.getLogger(_NAME)
_LOGGER.setLevel(logging.INFO)  # an outcome is told, whatever the level of the loggers above
_ID: Final = re.compile(r"[\w.:-]{1,128}", re.ASCII)
# https://learn.microsoft.com/azure/azure-monitor/app/opentelemetry-add-modify#send-custom-events
EVENT_NAME: Final = "microsoft.custom_event.name"
_HEADERS: Final = {
    "traceparent": "traceparent",
    "client_tracking_id": "x-ms-client-tracking-id",
    "workflow_run_id": "x-ms-workflow-run-id",
}
_LEVELS: Final = {
    # logs answers that it cannot read, tokens included; what went wrong is our event
    "azure.identity": logging.CRITICAL,
    # lines for each request would bury the one event of a delivery
    "azure": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
}

type Value = str | float | None

_ids: ContextVar[Mapping[str, str]] = ContextVar("ids", default=MappingProxyType({}))


def quieten_libraries() -> None:
    """Let the libraries below log what a person has to know, and nothing of what they read."""
    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(level)
    logging.getLogger("asyncio").addFilter(_tell_in_our_words)  # once, however often it is called


def _tell_in_our_words(record: logging.LogRecord) -> bool:
    """Change what asyncio logs of an error that nobody waits for: its text and its causes' may quote answers.

    Always true: no record is dropped.
    """
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, Exception):
        from contraforce_sentinel.domain.errors import in_our_words  # noqa: PLC0415 - indexing does without

        record.msg, record.args = f"an error in the background: {in_our_words(error)}", ()
        record.exc_info = record.exc_text = None
    return True


def correlation(headers: Mapping[str, str]) -> dict[str, str]:
    """Take the ids of the playbook's run from the headers; one that does not look like an id is dropped."""
    found = {name: headers.get(header) or "" for name, header in _HEADERS.items()}
    return {name: value for name, value in found.items() if _ID.fullmatch(value)}


@contextmanager
def about(**ids: str) -> Iterator[None]:
    """Every event inside carries these ids, beside those of the scopes around it."""
    token = _ids.set({**_ids.get(), **ids})
    try:
        yield
    finally:
        _ids.reset(token)


def identify(**ids: str | None) -> None:
    """Every event from here to the end of the scope around carries these ids, too; None is left out."""
    _ids.set({**_ids.get(), **{name: value for name, value in ids.items() if value is not None}})


def event(name: str, /, *, level: int = logging.INFO, **dimensions: Value) -> None:
    """Log one event of `vocabulary.EVENTS`; dimensions that are None are left out.

    The caller gives ids, codes and numbers only. The message repeats the dimensions, for consoles.
    """
    found = {**_ids.get(), **dimensions}
    present = {key: value for key, value in found.items() if value is not None}
    text = " ".join(f"{key}={value}" for key, value in present.items())
    _LOGGER.log(level, "%s %s", name, text, extra={EVENT_NAME: name, **present})


def measure(name: str, value: float, /, **dimensions: str) -> None:
    """Record one number under a metric of `vocabulary.METRICS`."""
    if "opentelemetry.metrics" in sys.modules:
        _recorder(name)(value, dimensions)


@contextmanager
def span(name: str, /, **attributes: str) -> Iterator[dict[str, str]]:
    """Group the requests inside under one span; what is put into the result becomes its attributes.

    An exception is not recorded: its text, or that of its cause, may quote an answer.
    """
    found = dict(attributes)
    if "opentelemetry.trace" not in sys.modules:
        yield found
        return
    from opentelemetry import trace  # noqa: PLC0415 - there already

    tracer = trace.get_tracer(_NAME)
    with tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as current:
        try:
            yield found
        except BaseException:
            current.set_status(trace.StatusCode.ERROR)
            raise
        finally:
            current.set_attributes(found)


@contextmanager
def untraced() -> Iterator[None]:
    """No request inside makes a span: the timer asks the same every five minutes, and mostly in vain."""
    if "opentelemetry.instrumentation.utils" not in sys.modules:
        yield
        return
    from opentelemetry.instrumentation.utils import suppress_http_instrumentation  # noqa: PLC0415 - there already

    with suppress_http_instrumentation():
        yield


@cache
def _recorder(name: str) -> Callable[[float, Mapping[str, str]], None]:
    from opentelemetry import metrics  # noqa: PLC0415 - there already

    metric, meter = METRICS[name], metrics.get_meter(_NAME)
    match metric.kind:
        case "counter":
            return meter.create_counter(name, unit=metric.unit).add
        case "histogram":
            return meter.create_histogram(name, unit=metric.unit).record
        case "gauge":
            return meter.create_gauge(name, unit=metric.unit).set
