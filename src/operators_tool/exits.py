"""The exit codes of every command."""

from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """What a script may rely on; `contraforce-sentinel --help` lists them."""

    DONE = 0
    LOOK = 1
    USAGE = 2
    WAITING = 3
    UNUSABLE = 4
    INTERRUPTED = 130


MEANINGS: Final = {
    Exit.DONE: "done: everything asked for is so",
    Exit.LOOK: "somebody has to look: a check failed, a link is dead or refused, nothing was found",
    Exit.USAGE: "wrong arguments",
    Exit.WAITING: "recorded, but not finished: the app's timer goes on",
    Exit.UNUSABLE: "settings are refused, or the link store or Azure cannot be reached",
    Exit.INTERRUPTED: "interrupted (Ctrl-C); what was begun was finished, nothing is lost",
}
