"""Run in a fresh process: index the function app of a directory, and deliver `BODY` if there is one.

Prints how many seconds importing and indexing took, then a line once the delivery is answered.
"""

import asyncio
import os
import sys
import time
from pathlib import Path


async def main(directory: Path) -> None:
    """Do as the host does."""
    began = time.perf_counter()
    from functions_host.worker import Worker  # noqa: PLC0415 - its import is measured

    async with await Worker.start(directory) as worker:
        print(time.perf_counter() - began, flush=True)  # noqa: T201
        if body := os.environ.get("BODY"):
            answer = await worker.invoke_http(
                "link_incident",
                method="POST",
                url="http://localhost/api/incidents",
                headers={"Content-Type": "application/json"},
                body=body.encode(),
            )
            print(answer.status, flush=True)  # noqa: T201


asyncio.run(main(Path(sys.argv[1])))
