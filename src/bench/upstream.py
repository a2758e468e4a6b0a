"""`python -m bench.upstream`: the sandbox in a process of its own, so that its work is not measured."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Final

from bench.children import answer_commands
from sandbox import Sandbox, SandboxWorkspace
from sandbox.bodies import utc_now

INCIDENT_SECONDS: Final = 0.1
"""Between the creation of two listed incidents."""


class Upstream:
    """What the measuring process may ask of the sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._workspace: SandboxWorkspace = sandbox.add_workspace()

    async def environment(self) -> dict[str, str]:
        """Return the settings of the workspaces that are there now."""
        return self._sandbox.environment()

    async def latency(self, seconds: float) -> None:
        """Let every answer of ContraForce and Resource Manager take so long."""
        self._sandbox.contraforce.latency_seconds = self._sandbox.arm.latency_seconds = seconds

    async def incidents(self, count: int) -> list[object]:
        """Create incidents; return the bodies that a playbook sends for them."""
        return [self._workspace.add_incident(number=number).trimmed_body() for number in range(1, count + 1)]

    async def workspaces(self, count: int) -> None:
        """Have so many workspaces, each in a subscription of its own, without incidents."""
        for number in range(count - len(self._sandbox.arm.workspaces)):
            self._sandbox.add_workspace(
                name=f"law-{number:03}", subscription=f"{number:08x}-2222-4333-8444-555555555555"
            )

    async def listed(self, count: int) -> list[str]:
        """Have exactly these incidents in the first workspace; return their ARM ids."""
        self._workspace.incidents.clear()
        first = utc_now() - timedelta(seconds=count * INCIDENT_SECONDS)
        made = [
            self._workspace.add_incident(
                number=number, created=first + timedelta(seconds=number * INCIDENT_SECONDS)
            )
            for number in range(1, count + 1)
        ]
        return [incident.arm_id for incident in made]

    async def forget(self) -> dict[str, int]:
        """Return how many link calls and comments were doubled, and how many comments there are; forget."""
        calls = Counter(request.key for request in self._sandbox.log.of("contraforce.link"))
        comments = [len(incident.comments) for incident in self._workspace.incidents.values()]
        told = {
            "commented": sum(map(bool, comments)),
            "doubled": sum(count > 1 for count in (*calls.values(), *comments)),
        }
        self._sandbox.log.clear()
        self._workspace.incidents.clear()
        return told


async def main() -> None:
    """Serve until stdin ends."""
    async with Sandbox.start() as sandbox:
        upstream = Upstream(sandbox)
        await answer_commands(
            environment=upstream.environment,
            latency=upstream.latency,
            incidents=upstream.incidents,
            workspaces=upstream.workspaces,
            listed=upstream.listed,
            forget=upstream.forget,
        )


if __name__ == "__main__":
    asyncio.run(main())
