"""The body of an answer: decoded in small steps, never longer than its reader allows.

A compressed answer of a few kilobytes may stand for gigabytes, and more so if it is compressed twice. So no
step makes more than `STEP_BYTES`, the limit holds after each, and others may run in between. One encoding is
understood, the one that requests ask for (`ACCEPTED`). Of JSON, what cannot be read costs itself alone; of
nothing but brackets it takes thirty times its size once it is read: their number has a limit, too.
"""

import asyncio
import json
import math
import zlib
from collections.abc import Iterator
from typing import Final

import httpx

from contraforce_sentinel.domain.inputs import MOST_CONTAINERS, has_too_many_containers

ACCEPTED: Final = "gzip"
STEP_BYTES: Final = 64 * 1024
_GZIP_NAMES: Final = frozenset({"gzip", "x-gzip"})  # https://www.rfc-editor.org/rfc/rfc9110#gzip.coding
_GZIP_ONLY: Final = zlib.MAX_WBITS | 16
_MOST_DIGITS: Final = 300
_BYTES_A_CONTAINER: Final = 40


async def read_body(response: httpx.Response, most_bytes: int) -> bytes | None:
    """Return the decoded body; None if it is over a limit, or encoded in a way that cannot be read."""
    named = response.headers.get_list("Content-Encoding", split_commas=True)
    encodings = [name for name in (one.strip().lower() for one in named) if name not in {"", "identity"}]
    if len(encodings) > 1 or not _GZIP_NAMES.issuperset(encodings):
        return None
    gzip = zlib.decompressobj(_GZIP_ONLY) if encodings else None
    body, is_empty = bytearray(), True
    async for chunk in response.aiter_raw():
        is_empty = is_empty and not chunk
        try:
            for piece in [chunk] if gzip is None else _decoded(gzip, chunk):
                body += piece
                if len(body) > most_bytes:
                    return None
                await asyncio.sleep(0)
        except zlib.error:
            return None
        if gzip is not None and gzip.unused_data:  # something else follows
            return None
    is_whole = gzip is None or gzip.eof or is_empty
    most = max(MOST_CONTAINERS, most_bytes // _BYTES_A_CONTAINER)
    return bytes(body) if is_whole and not has_too_many_containers(body, most) else None


def _decoded(gzip: "zlib._Decompress", chunk: bytes) -> Iterator[bytes]:
    """Yield what a chunk stands for, in pieces of at most `STEP_BYTES`."""
    piece = b" " * STEP_BYTES
    while chunk or len(piece) == STEP_BYTES:  # a full piece may have left some more behind
        piece = gzip.decompress(chunk, STEP_BYTES)
        chunk = gzip.unconsumed_tail
        yield piece


def read_json(body: bytes) -> object:
    """Return a JSON document. Raises `ValueError`, `RecursionError`.

    Bytes that are no text are replaced. What JSON has no number for (`NaN`, `Infinity`, 1e999), and what has
    more digits than Python reads, is null: one odd title or number must not cost the whole answer.
    """
    text = body.decode(json.detect_encoding(body), "replace")
    return json.loads(text, parse_constant=_nothing, parse_float=_finite, parse_int=_whole)


def _nothing(_: str) -> None:
    return None


def _finite(text: str) -> float | None:
    return number if math.isfinite(number := float(text)) else None


def _whole(text: str) -> int | None:
    return int(text) if len(text) <= _MOST_DIGITS else None
