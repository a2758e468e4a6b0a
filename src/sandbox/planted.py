"""Every secret the sandbox hands out, marked so that a leak can be found by searching for one string."""

from secrets import token_hex
from typing import Final

PLANTED_SECRET: Final = "s3cr3t-planted-5a7d"  # noqa: S105 - protects nothing; leak tests search for it
"""Part of every client secret, identity header and token of the sandbox."""


def planted(kind: str) -> str:
    """Return a new secret with the marker; `kind` tells in a leak report which one got out."""
    return f"{PLANTED_SECRET}-{kind}-{token_hex(8)}"
