"""`python -m bench.flood.upstream`: the sandbox in a process of its own, well behaved or hostile."""

import asyncio
import random
from itertools import count
from typing import Final

from bench.children import answer_commands
from bench.flood.deliveries import SEED
from bench.flood.tricks import tricks
from sandbox import Operation, Sandbox

WORKSPACES: Final = 40
NEW_WORKSPACES: Final = 20
"""Those that Resource Manager is first asked for when it is hostile."""

TOKEN_SECONDS: Final = 330
"""The app asks for a new token 300 seconds before the old one ends: twice a minute."""

HOSTILE_TOKEN_SECONDS: Final = 300


class Upstream:
    """What the flood may ask of the sandbox. Sentinel's limit of comments is off."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._random = random.Random(SEED)  # noqa: S311 - the same each time
        self._numbers = count(1)
        self._workspaces = [
            sandbox.add_workspace(
                name=f"law-{number:03}", subscription=f"{number:08x}-2222-4333-8444-555555555555"
            )
            for number in range(WORKSPACES + NEW_WORKSPACES)
        ]
        sandbox.identity.lifetime_seconds = TOKEN_SECONDS

    async def environment(self) -> dict[str, str]:
        """Return the app's settings."""
        return self._sandbox.environment()

    async def incidents(self, count: int, *, everywhere: bool) -> list[object]:
        """Create incidents, `everywhere` or not in the new workspaces; return what a playbook sends."""
        places = self._workspaces if everywhere else self._workspaces[:WORKSPACES]
        self._sandbox.log.clear()
        return [
            self._random.choice(places).add_incident(number=next(self._numbers)).trimmed_body()
            for _ in range(count)
        ]

    async def hostile(self, operations: list[Operation], *, part: float) -> None:
        """Answer this part of the requests of these operations with one trick after the other."""
        self._sandbox.faults.clear()
        self._sandbox.identity.lifetime_seconds = HOSTILE_TOKEN_SECONDS
        for operation in operations:
            found = tricks()
            self._random.shuffle(found)
            self._sandbox.faults.plan(
                operation, *found, times=None, where=lambda _: self._random.random() < part
            )

    async def calm(self) -> None:
        """Behave."""
        self._sandbox.faults.clear()
        self._sandbox.identity.lifetime_seconds = TOKEN_SECONDS


async def main() -> None:
    """Serve until stdin ends."""
    async with Sandbox.start() as sandbox:
        upstream = Upstream(sandbox)
        await answer_commands(
            environment=upstream.environment,
            incidents=upstream.incidents,
            hostile=upstream.hostile,
            calm=upstream.calm,
        )


if __name__ == "__main__":
    asyncio.run(main())
