"""The terminal of a command: Ctrl-C, signals that mean the same, and what its encoding cannot show."""

import io
import os
import signal
import sys
from types import FrameType
from typing import Final

from operators_tool.exits import Exit

_OTHERS: Final = ("SIGTERM", "SIGHUP")  # Windows has no SIGHUP


def leave_at_ctrl_c() -> None:
    """Until a command has begun, Ctrl-C ends the process at once: nothing has to be finished."""
    signal.signal(signal.SIGINT, _leave)


def interrupt_at_signals() -> None:
    """From now on Ctrl-C, SIGTERM and SIGHUP raise `KeyboardInterrupt`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it in background jobs
    for name in _OTHERS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: signal.raise_signal(signal.SIGINT))


def replace_what_cannot_be_shown() -> None:
    """Let an output whose encoding lacks a character show `?` for it, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signal.signal calls it
    os.write(2, b"Interrupted.\n")
    os._exit(Exit.INTERRUPTED)
