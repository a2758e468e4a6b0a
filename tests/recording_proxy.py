"""A proxy as companies have them: it keeps what it is asked, passes CONNECT on, or is in the way."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from stalling_proxy import listening, pass_on

type Manner = Literal["pass", "refuse", "hang", "cut", "garble"]


class RecordingProxy:
    """`asked` are the whole heads of all requests; plain http is answered with 502."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.manner: Manner = "pass"
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def start(cls, *, tls: ssl.SSLContext | None = None) -> AsyncIterator["RecordingProxy"]:
        """Listen on a free port of 127.0.0.1 until the block ends."""
        proxy = cls()
        async with listening(proxy._serve, tls=tls) as port:
            proxy.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
            yield proxy

    def targets(self) -> list[str]:
        """Return what was asked for: `host:port` of a CONNECT, else a URL."""
        return [head.split(" ", 2)[1] for head in self.asked]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head)
            method, target, _ = head.split(" ", 2)
            match "refuse" if method != "CONNECT" and self.manner == "pass" else self.manner:
                case "pass":
                    await self._connect(target, reader, writer)
                case "refuse":
                    writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                case "hang":
                    await reader.read()
                case "garble":
                    writer.write(b"220 mail.example ESMTP\r\n")
                case "cut":
                    pass
            await writer.drain()
        finally:
            writer.close()

    async def _connect(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = target.rpartition(":")
        there, to_there = await asyncio.open_connection(host.strip("[]"), int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = asyncio.ensure_future(pass_on(there, writer))
        try:
            await pass_on(reader, to_there)
        finally:
            back.cancel()
            to_there.close()
