"""Run in the package's own environment: index an app folder, deliver one body, print what came of it.

Usage: deliver_once.py FOLDER, the body on standard input.
"""

import asyncio
import json
import sys
from pathlib import Path

from functions_host.worker import Worker


async def main(folder: Path, body: bytes) -> None:
    async with await Worker.start(folder) as worker:
        answer = await worker.invoke_http(
            "link_incident",
            method="POST",
            url="http://localhost/api/incidents",
            headers={"Content-Type": "application/json"},
            body=body,
        )
        functions = sorted(function.name for function in worker.functions)
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    print(  # noqa: T201 - this is what the test reads
        json.dumps(
            {
                "status": answer.status,
                "headers": dict(answer.headers),
                "body": answer.body.decode(),
                "functions": functions,
                "files": {name: str(Path(file).resolve()) for name, file in files.items() if file},
            }
        )
    )


asyncio.run(main(Path(sys.argv[1]).resolve(), sys.stdin.buffer.read()))
