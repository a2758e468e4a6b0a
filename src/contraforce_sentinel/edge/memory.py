"""Memory that is free goes back to the system: glibc keeps it, in pieces around what is still in use.

Bodies and answers of megabytes leave such pieces behind, and the process seems to grow with each. So each of
them has pages of its own: else glibc puts them among the small ones, once the first was freed. Those of a
request that failed are held by its exception, whose traceback holds it in turn, until Python looks for such
circles everywhere: the less often, the more modules there are. So these are left out of the search.
https://man7.org/linux/man-pages/man3/malloc_trim.3.html, https://man7.org/linux/man-pages/man3/mallopt.3.html
"""

import asyncio
import gc
import time
from collections.abc import Callable
from functools import cache
from typing import Final

_AFTER_SECONDS: Final = 1.0
_LARGE_BYTES: Final = 512 * 1024
_MMAP_THRESHOLD: Final = -3
"""M_MMAP_THRESHOLD of malloc.h."""

_due = 0.0
_is_asked_again = False


def give_back_soon() -> None:
    """Give back what is free a second from now, and once more for those who ask until then.

    By then the body of the caller's own request is free, too. On a system without glibc, nothing happens.
    """
    global _due, _is_asked_again  # noqa: PLW0603 - memory is the process's
    now = time.monotonic()
    if now < _due:
        _is_asked_again = True
        return
    _due, _is_asked_again = now + _AFTER_SECONDS, False
    asyncio.get_running_loop().call_later(_AFTER_SECONDS, _take_turn)


def _take_turn() -> None:
    global _due  # noqa: PLW0603 - memory is the process's
    _give_back()
    _due = 0.0
    if _is_asked_again:
        give_back_soon()


def _give_back() -> None:
    gc.collect()
    if gc.get_freeze_count() == 0:
        gc.freeze()  # modules and clients: a search without them takes milliseconds
    _trim()(0)


@cache
def _trim() -> Callable[[int], object]:
    import ctypes  # noqa: PLC0415 - a cold start does without

    try:
        libc = ctypes.CDLL(None)
        found: Callable[[int], object] = libc.malloc_trim
        libc.mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
    except (OSError, TypeError, AttributeError):  # of Windows, of macOS and musl
        return lambda _: None
    return found
