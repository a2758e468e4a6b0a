"""The command line: ``python -m functions_host``.

Prints the functions, the keys and, once requests are accepted, ``listening on http://127.0.0.1:PORT`` to
stdout, and logs to stderr. Works in the app's directory, as ``func start`` does. Exits with 0 after SIGINT or
SIGTERM, with 1 and a message when the host cannot start.
"""

import argparse
import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from functions_host.console import log_to_stderr
from functions_host.errors import HostError, IndexingError, SettingsError
from functions_host.routes import path_of
from functions_host.schedule import read_schedule
from functions_host.server import AccessKeys, Server
from functions_host.settings import apply_local_settings, is_disabled, route_prefix
from functions_host.worker import FunctionMetadata, Worker

DEFAULT_PORT = 7071
MAX_PORT = 65535


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the host until it is told to stop; gives the exit code."""
    options = _parser().parse_args(arguments)
    log_to_stderr()
    try:
        directory: Path = options.app.resolve()
        if not directory.is_dir():
            raise SettingsError(f"{directory} is not a directory")
        apply_local_settings(directory, environment=os.environ)
        os.chdir(directory)
        keys = AccessKeys(
            function=options.key or secrets.token_urlsafe(24),
            master=options.master_key or secrets.token_urlsafe(24),
        )
        asyncio.run(_serve(directory, port=options.port, keys=keys, prefix=route_prefix(directory)))
    except IndexingError as error:
        sys.stderr.write(f"{error.stack_trace}\nthe function app cannot be indexed: {error}\n")
        return 1
    except HostError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


async def _serve(directory: Path, *, port: int, keys: AccessKeys, prefix: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):  # not by the loop: on Windows it cannot
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    async with await Worker.start(directory) as worker:
        server = Server(worker, keys=keys, route_prefix=prefix)
        async with server.listen(port=port) as base_url:
            for function in worker.functions:
                _say(_describe(function, base_url=base_url, prefix=prefix))
            _say(f"function key: {keys.function}")
            _say(f"master key: {keys.master}")
            _say(f"listening on {base_url}")
            await stop.wait()
            _say("stopping")
            signal.signal(
                signal.SIGINT, signal.default_int_handler
            )  # a second signal ends the process at once
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _describe(function: FunctionMetadata, *, base_url: str, prefix: str) -> str:
    if is_disabled(function.name, os.environ):
        return f"{function.name}: disabled"
    if function.is_http:
        address = base_url.replace("127.0.0.1", "localhost") + path_of(function, prefix=prefix)
        return f"{function.name}: [{','.join(function.methods) or 'ANY'}] {address}"
    if function.is_timer:
        return f"{function.name}: timer {read_schedule(function.timer_schedule or '').text}"
    return f"{function.name}: {function.trigger_type}, only by POST /admin/functions/{function.name}"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= MAX_PORT:
        raise ValueError(text)
    return port


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m functions_host", description="A local Azure Functions host."
    )
    parser.add_argument(
        "--app", type=Path, default=Path(), help="directory of function_app.py (default: here)"
    )
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help="0 takes a free one (default: %(default)s)"
    )
    parser.add_argument("--key", help="function key (default: a random one, printed)")
    parser.add_argument("--master-key", help="key of the admin endpoint (default: a random one, printed)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
