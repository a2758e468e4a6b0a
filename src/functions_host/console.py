"""Writes log records for a developer: level, logger, message and the structured fields, to stderr."""

import json
import logging
import sys

_USUAL_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class FieldsFormatter(logging.Formatter):
    """One line per record, its ``extra`` fields at the end as ``name=json``; a traceback follows."""

    default_time_format = "%H:%M:%S"
    default_msec_format = "%s.%03d"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - overrides the standard library
        """Append the fields that are not part of every record."""
        fields = {name: value for name, value in vars(record).items() if name not in _USUAL_FIELDS}
        text = super().formatMessage(record)
        shown = " ".join(
            f"{name}={json.dumps(value, default=str, ensure_ascii=False)}" for name, value in fields.items()
        )
        if not shown:
            return text
        # Before the line breaks of a message, so that the fields are found beside its first line.
        first, newline, rest = text.partition("\n")
        return f"{first}  {shown}{newline}{rest}"


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send all log records of this process to stderr; call once."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FieldsFormatter())
    logging.basicConfig(level=level, handlers=[handler])
    # The worker names every binding at indexing and every call; the host says the latter itself.
    logging.getLogger("azure.functions").setLevel(logging.WARNING)
