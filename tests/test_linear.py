"""What others write is read in time that grows with its length, and not faster.

Compared are two lengths, never seconds. What took a long time once has a test of its own; the rest is the
sweep over every pattern of what is deployed and of the operators' tool.
"""

import gc
import math
import re
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from inspect import getsource
from pkgutil import walk_packages
from typing import Final

import httpx
import pytest
from azure.core.rest import HttpRequest

import contraforce_sentinel
import operators_tool
from contraforce_sentinel.azure.httpx_transport import _Response
from contraforce_sentinel.domain.comments import is_our_comment
from contraforce_sentinel.domain.errors import SettingsError
from contraforce_sentinel.domain.tickets import Ticket
from contraforce_sentinel.settings import Settings
from contraforce_sentinel.transport.connections import Answer
from operators_tool.check_azure import _matches

TICKET: Final = Ticket(system="Jira", number="SEC-421")
ACTION: Final = "Microsoft.SecurityInsights/incidents/comments/write"
TIMES: Final = 16
MOST: Final = 4 * TIMES
"""What grows with the square is four times as much."""


def growth(work: Callable[[str], object], make: Callable[[int], str], length: int) -> float:
    """Return how many times longer it takes for a text `TIMES` as long; the shortest of some runs counts.

    One that is too much is measured again: another process may have had the processor's caches.
    """
    short, long, found = make(length), make(TIMES * length), math.inf
    for _ in range(6):
        longest = min(_seconds(work, long) for _ in range(5))
        found = min(found, longest / min(_seconds(work, short) for _ in range(15)))
        if found < MOST:
            break
    return found


def _seconds(work: Callable[[str], object], text: str) -> float:
    """Of this thread alone, without what it waits for its turn."""
    gc.disable()
    began = time.thread_time()
    work(text)
    ended = time.thread_time()
    gc.enable()
    return ended - began


@pytest.mark.parametrize("again", ["<", "</", "<p", "<p ", "<br <", "&", "&#1", "&#", "<a>", "\n"])
def test_a_hostile_comment_is_compared_in_linear_time(again: str) -> None:
    assert growth(lambda text: is_our_comment(text, TICKET), lambda n: again * n, 500) < MOST


def test_a_comment_with_a_character_of_thousands_of_digits_is_not_ours() -> None:
    assert not is_our_comment(f"&#{'9' * 20_000};", TICKET)


@pytest.mark.parametrize("again", ["*", "*e", "*e*", "e"])
def test_a_role_of_many_stars_is_compared_in_linear_time(again: str) -> None:
    assert growth(lambda text: _matches([text], ACTION), lambda n: again * n + "!", 3) < MOST


def test_a_connection_string_is_refused_in_linear_time() -> None:
    def refuse(text: str) -> None:
        with pytest.raises(SettingsError, match="LINK_STORE"):
            Settings.from_environment({"LINK_STORE": text})

    assert growth(refuse, lambda n: "a=" * n + " !", 3) < MOST


@pytest.mark.parametrize("again", [";", '\\";', "; a=1"])
def test_an_answers_content_type_is_read_in_linear_time(again: str) -> None:
    """90 KB of it stopped everything for six seconds."""

    def read(content_type: str) -> None:
        headers = httpx.Headers({"Content-Type": content_type})
        request = HttpRequest("GET", "https://localhost/")
        assert _Response(request, Answer(200, "OK", headers, b"{}")).json() == {}

    assert growth(read, lambda n: 'application/json;"' + again * n, 1000) < MOST


def modules() -> Iterator[tuple[str, dict[str, object], str]]:
    """Yield name, content and source of every module of what is deployed and of the tool."""
    for package in (contraforce_sentinel, operators_tool):
        for found in walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                module = import_module(found.name)
                yield found.name, vars(module), getsource(module)


def uses() -> Iterator[tuple[str, re.Pattern[str], bool]]:
    """Yield every compiled pattern, and whether it is looked for at each place of a text."""
    for module, content, source in modules():
        for name, found in content.items():
            if isinstance(found, re.Pattern) and f"\n{name}: " in source:
                is_searched = re.search(rf"\b{name}\.(?:sub|search|split|find\w+)\(", source) is not None
                yield f"{module}.{name}", found, is_searched


USES: Final = {name: (pattern, is_searched) for name, pattern, is_searched in uses()}


def test_the_sweep_finds_the_patterns_and_how_they_are_used() -> None:
    found = {name.rpartition(".")[2]: is_searched for name, (_, is_searched) in USES.items()}
    assert (
        found.items() >= {"_TAG": True, "_ARM_ID": True, "_CONNECTION_STRING": False, "_GUID": False}.items()
    )


@pytest.mark.parametrize("name", USES)
def test_no_pattern_takes_more_than_linear_time(name: str) -> None:
    """Its own characters and words, each again and again, alone and behind its beginning; the end wrong."""
    pattern, is_searched = USES[name]
    words = re.sub(r"\\[dswbDSWB]|[\\^$|?*+(){}\[\]]", " ", pattern.pattern).split()
    for start in ("", words[0] if words else ""):
        for again in sorted({*"".join(words), *words, *"a1 =.<"}):

            def make(n: int, start: str = start, again: str = again) -> str:
                return f"{start}{again * n}\0"

            work = pattern.findall if is_searched else pattern.fullmatch
            assert growth(work, make, 200) < MOST, (start, again)


def test_no_pattern_is_made_of_what_others_write() -> None:
    """All patterns are there from the start: the sweep sees them."""
    made = re.compile(r"\bre\.(?!compile\()\w+\(|^ .*\bre\.compile\(", re.MULTILINE)
    found = {name for name, _, source in modules() if made.search(source)}
    assert found == {"operators_tool.demo.steps", "operators_tool.pictures"}  # of the sandbox's own texts
