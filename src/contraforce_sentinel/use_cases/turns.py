"""Work of many workspaces at once that has a number of places to share."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing


async def in_turn[T](pages: AsyncGenerator[T], places: asyncio.Semaphore) -> AsyncGenerator[T]:
    """Yield what a generator yields; while it works on one, and its reader does, it has one of the places.

    A reader that may stop early closes it, and with it the place.
    """
    async with aclosing(pages):
        while True:
            async with places:
                try:
                    page = await anext(pages)
                except StopAsyncIteration:
                    return
                yield page
