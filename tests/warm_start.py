"""A process that has imported the operators' tool, and runs each command in a fork of itself.

What a command is and does is the same: a process with its own arguments, environment, output, signals and
exit code. Only the imports, which take most of its time, are done once. `cli_process.py` starts it and says
what to run, over the Unix socket whose number is the argument; it ends when that is closed.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import struct
import sys
from dataclasses import dataclass
from socket import AF_UNIX, SOCK_STREAM, recv_fds, socket
from typing import Any, Final, NoReturn

NUMBER: Final = struct.Struct("=i")
# What the commands import with the first use.
IMPORTED: Final = (
    "azure.mgmt.securityinsight.aio",
    "contraforce_sentinel.azure.httpx_transport",
    "operators_tool.actions",
    "operators_tool.commands",
    "operators_tool.session",
    "contraforce_sentinel.contraforce.client",
    "contraforce_sentinel.use_cases.linking",
    "contraforce_sentinel.azure.sentinel",
    "contraforce_sentinel.stores.sqlite",
)


@dataclass(frozen=True)
class Order:
    """What to run, and where to: its output, its errors, and who waits for its process id and exit code."""

    arguments: list[str]
    environment: dict[str, str]
    source: str | None
    out: int
    err: int
    told: int

    @classmethod
    def receive(cls, channel: socket) -> "Order | None":
        size, numbers, _, _ = recv_fds(channel, NUMBER.size, 3)
        if not size:
            return None
        wanted, content = NUMBER.unpack(size)[0], b""
        while len(content) < wanted:
            content += channel.recv(wanted - len(content))
        out, err, told = numbers
        said: dict[str, Any] = json.loads(content)
        return cls(**said, out=out, err=err, told=told)

    def close(self) -> None:
        for number in (self.out, self.err, self.told):
            os.close(number)


def serve(channel: socket) -> Order | None:
    """Fork for each order; returns in the fork that is to run it, or None at the end."""
    while order := Order.receive(channel):
        if os.fork() == 0:
            channel.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if process := os.fork():
                wait_for(process, order)
            return order
        order.close()
    return None


def wait_for(process: int, order: Order) -> NoReturn:
    """Tell that the command has begun, and how it ended."""
    os.write(order.told, NUMBER.pack(process))
    os.close(order.out)
    os.close(order.err)
    _, status = os.waitpid(process, 0)
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(order.told, NUMBER.pack(os.waitstatus_to_exitcode(status)))
    os._exit(0)


def run(order: Order) -> None:
    """Be the command; ends as it ends, mostly with `SystemExit`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, place in ((nothing, 0), (order.out, 1), (order.err, 2)):
        os.dup2(number, place)
        os.close(number)
    os.close(order.told)
    # as a process has them that began with these outputs
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    os.environ.clear()
    os.environ.update(order.environment)
    sys.argv = ["contraforce-sentinel", *order.arguments]
    if order.source is None:
        runpy.run_module("operators_tool", run_name="__main__", alter_sys=True)
    else:
        exec(order.source, {"__name__": "__main__"})  # noqa: S102 - as python -c does


def main() -> None:
    """Import everything, then serve."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that nothing is left of those that wait
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    if order := serve(socket(AF_UNIX, SOCK_STREAM, fileno=int(sys.argv[1]))):
        run(order)


if __name__ == "__main__":
    main()
