"""Cold starts: fresh processes, the app's and the floor's in turn, with and without compiled modules."""

import asyncio
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from bench.children import NO_PROXY, ChildFailed
from bench.figures import Figure, in_turn
from bench.lab import Lab

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
APP, FLOOR, HELLO = HERE / "cold_app.py", HERE / "cold_floor.py", HERE / "hello"
INDEX_TARGET: Final = 1.5
FIRST_TARGET: Final = 1.25
MS: Final = 1000.0
_LINE: Final = re.compile(r"import time:\s+(-?\d+) \|\s+\d+ \|\s+([\w.]+)")


def package_of(module: str) -> str:
    """Return what a reader calls a module's package: of azure, and of ours, the level below."""
    if module.split(".", maxsplit=1)[0] in sys.stdlib_module_names:
        return "(Python itself)"
    return ".".join(module.split(".")[: 1 + module.startswith("azure.")])


class Cold:
    """Starts processes that find their compiled modules in a folder of their own, or nowhere."""

    def __init__(self, lab: Lab, *, is_compiled: bool) -> None:
        self._lab = lab
        self._is_compiled = is_compiled
        self._number = 0

    async def index(self, directory: Path) -> float:
        """Return the seconds that importing and indexing an app took."""
        script = "hello_app.py" if directory == HELLO else "function_app.py"
        lines, _ = await self._run(APP, str(directory), PYTHON_SCRIPT_FILE_NAME=script)
        return float(lines[0])

    async def first_delivery(self, script: Path) -> float:
        """Return the seconds from the start of a process to its first delivery answered."""
        (body,) = await self._lab.bodies(1)
        began = time.perf_counter()
        lines, seconds = await self._run(script, str(ROOT), BODY=json.dumps(body))
        if lines[-1] not in {"200", "201"}:
            raise ChildFailed(f"the first delivery was answered {lines[-1]}")
        return seconds - began

    async def imports(self) -> dict[str, float]:
        """Return the milliseconds that each package's import takes in a first delivery."""
        self._lab.say("imports of a first delivery")
        (body,) = await self._lab.bodies(1)
        errors = self._lab.folder / "importtime"
        await self._run(APP, str(ROOT), options=["-X", "importtime"], errors=errors, BODY=json.dumps(body))
        spent: Counter[str] = Counter()
        for microseconds, module in _LINE.findall(errors.read_text()):
            spent[package_of(module)] += int(microseconds)
        return {package: microseconds / MS for package, microseconds in spent.most_common()}

    async def _run(
        self,
        script: Path,
        *arguments: str,
        options: list[str] | None = None,
        errors: Path | None = None,
        **more: str,
    ) -> tuple[list[str], float]:
        """Return the lines that a fresh process prints, and when the last of them came."""
        self._number += 1
        environment = await self._lab.environment(store=f"cold-{self._is_compiled}-{self._number}")
        environment = {**os.environ, **NO_PROXY, **environment, **self._caching(), **more}
        with (errors or Path(os.devnull)).open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, *(options or ()), str(script), *arguments),
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                env=environment,
            )
        lines, at = [], 0.0
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        async for line in process.stdout:
            lines.append(line.decode().strip())
            at = time.perf_counter()
        if await process.wait() or not lines:
            raise ChildFailed(f"{script.name} ended with exit code {process.returncode}")
        return lines, at

    def _caching(self) -> Mapping[str, str]:
        prefix = self._lab.folder / ("compiled" if self._is_compiled else f"nothing-{self._number}")
        return {
            "PYTHONPYCACHEPREFIX": str(prefix),
            "PYTHONDONTWRITEBYTECODE": "" if self._is_compiled else "1",
        }


async def cold(lab: Lab, *, rounds: int, is_compiled: bool) -> list[Figure]:
    """Index and deliver in fresh processes, in turn with their floors."""
    await lab.upstream.ask("latency", seconds=0)
    starts, kind = Cold(lab, is_compiled=is_compiled), "with .pyc" if is_compiled else "without .pyc"
    if is_compiled:  # the first round of each compiles
        await starts.first_delivery(APP)
        await starts.first_delivery(FLOOR)
        await starts.index(HELLO)
    results = []
    for number in range(rounds):
        lab.say(f"cold, {kind}: round {number + 1} of {rounds}")
        results.append(
            await in_turn(
                number,
                partial(starts.index, ROOT),
                partial(starts.index, HELLO),
                partial(starts.first_delivery, APP),
                partial(starts.first_delivery, FLOOR),
            )
        )
    index, hello, app, floor = (
        tuple(value * MS for value in column) for column in zip(*results, strict=True)
    )
    targets = (INDEX_TARGET, FIRST_TARGET) if is_compiled else (None, None)
    return [
        Figure(f"import and index, {kind}", "ms", index, hello, targets[0]),
        Figure(f"process start to first delivery, {kind}", "ms", app, floor, targets[1]),
    ]
