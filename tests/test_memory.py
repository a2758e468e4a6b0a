"""What is free goes back to the system: a process that had large bodies is no larger than before."""

import asyncio
import subprocess
import sys

import pytest

from contraforce_sentinel.edge import memory

# Pieces of a large heap, every second one free: as bodies leave it behind around what is still in use.
HOLES = """
import asyncio
from pathlib import Path
from contraforce_sentinel.edge import memory

def megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 2**20

async def main():
    blocks = [bytearray(100_000) for _ in range(1000)]
    memory.give_back_soon()
    del blocks[::2]
    memory.give_back_soon()
    full = megabytes()
    await asyncio.sleep(memory._AFTER_SECONDS + 0.5)
    print(full - megabytes())

asyncio.run(main())
"""


# One body after the other, with what stays in use behind it.
LARGE = """
import asyncio
from pathlib import Path
from contraforce_sentinel.edge import memory

def megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 2**20

async def main():
    memory.give_back_soon()
    await asyncio.sleep(memory._AFTER_SECONDS + 0.5)
    stays = []
    for _ in range(8):
        body = b"x" * (5 * 2**20)
        stays.append(bytearray(100_000))
        full = megabytes()
        del body
    print(full - megabytes())

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_body_is_given_back_at_once_whatever_stays_in_use_behind_it() -> None:
    done = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True)
    assert int(done.stdout) >= 4


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_is_free_is_given_back_a_second_later() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 30


@pytest.mark.slow
def test_all_who_ask_within_a_second_share_a_turn_and_the_last_of_them_has_one_behind_him(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns: list[None] = []
    monkeypatch.setattr(memory, "_give_back", lambda: turns.append(None))
    monkeypatch.setattr(memory, "_AFTER_SECONDS", 0.2)
    monkeypatch.setattr(memory, "_due", 0.0)

    async def ask() -> None:
        for _ in range(100):
            memory.give_back_soon()
        await asyncio.sleep(1)

    for expected in (2, 4):
        asyncio.run(ask())  # a loop of its own: other tests have asked in theirs
        assert len(turns) == expected


def test_where_the_system_does_not_know_how_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    memory._trim.cache_clear()
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    memory._give_back()
    memory._trim.cache_clear()


@pytest.mark.slow
def test_circles_are_found_without_a_look_at_what_was_there_from_the_beginning() -> None:
    """A failed request is held by its exception, whose traceback holds the exception."""
    program = """
import gc, weakref
from contraforce_sentinel.edge import memory

class Body:
    pass

gc.disable()
memory._give_back()
assert gc.get_freeze_count() > 1000
body = Body()
body.itself, seen = body, weakref.ref(body)
del body
memory._give_back()
assert seen() is None
"""
    subprocess.run([sys.executable, "-c", program], check=True)
