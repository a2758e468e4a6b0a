"""Memory that is free goes back to the system: glibc keeps it, in pieces around what is still in use.

Bodies and answers of megabytes leave such pieces behind, and the process seems to grow with each.
https://man7.org/linux/man-pages/man3/malloc_trim.3.html
"""

import asyncio
import time
from collections.abc import Callable
from functools import cache
from typing import Final

_AFTER_SECONDS: Final = 1.0
_due = 0.0


def give_back_soon() -> None:
    """Give back what is free a second from now, for all who ask until then.

    By then the body of the caller's own request is free, too. On a system without glibc, nothing happens.
    """
    global _due  # noqa: PLW0603 - memory is the process's
    now = time.monotonic()
    if now >= _due:
        _due = now + _AFTER_SECONDS
        asyncio.get_running_loop().call_later(_AFTER_SECONDS, _give_back)


def _give_back() -> None:
    _trim()(0)


@cache
def _trim() -> Callable[[int], object]:
    import ctypes  # noqa: PLC0415 - a cold start does without

    try:
        found: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):  # of Windows, of macOS and musl
        return lambda _: None
    return found
