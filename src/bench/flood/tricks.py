"""What a hostile upstream answers: every way to make a client wait, swell, unpack, follow, or stumble."""

import gzip
import zlib
from typing import Final

from sandbox import faults
from sandbox.faults import Fault, Wire

MIB: Final = 2**20
_CHUNKED: Final = "Transfer-Encoding: chunked"
_JSON: Final = "Content-Type: application/json"


def wire(
    *headers: str, body: bytes = b"", again: bytes = b"", ends: bool = False, status: str = "200 OK"
) -> Fault:
    """Return an answer as bytes: head, body, what goes on and on, and whether it ends."""
    head = "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode("latin-1")
    return Fault(wire=Wire(head + body, again, ends))


def whole(body: bytes, *headers: str, status: str = "200 OK") -> Fault:
    """Return an answer with this body, of which all is sent; the connection is closed behind it."""
    return wire(f"Content-Length: {len(body)}", *(headers or (_JSON,)), body=body, status=status, ends=True)


def encoded(body: bytes, encoding: str) -> Fault:
    """Return an answer that says how it is encoded."""
    return whole(body, _JSON, f"Content-Encoding: {encoding}")


def chunk(content: bytes) -> bytes:
    """Return a chunk of a body whose length nobody knows."""
    return b"%x\r\n%s\r\n" % (len(content), content)


def _endless_gzip() -> Fault:
    packed = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    first = packed.compress(b" " * MIB) + packed.flush(zlib.Z_FULL_FLUSH)
    again = packed.compress(b" " * MIB) + packed.flush(zlib.Z_FULL_FLUSH)  # stands alone behind a full flush
    return wire(_CHUNKED, "Content-Encoding: gzip", body=chunk(first), again=chunk(again))


def drips() -> list[Fault]:
    """Return what comes a byte at a time, without an end, or never."""
    return [
        wire("Content-Length: 1000000", again=b" "),
        Fault(wire=Wire(b"HTTP/1.1 200 OK\r\nX-More: ", b"a")),
        Fault(wire=Wire(b"", b"H")),
        Fault(wire=Wire(b"HTTP/1.1 ")),
        faults.endless("headers"),
        faults.endless("hints"),
        faults.endless("body"),
        wire(_CHUNKED, again=chunk(b" " * 65_536)),
        wire(_CHUNKED, _JSON, body=chunk(b'{"value":['), again=chunk(b"[]," * 100_000)),
        wire("Connection: close", again=b" " * 65_536),
        wire(_CHUNKED, body=b"1;a=", again=b"a" * 1000),
        wire(_CHUNKED, body=chunk(b"{}") + b"0\r\n", again=b"X-Trailer: more\r\n"),
        wire("Content-Length: 1000000000000000"),
        wire("Content-Length: 20000000", again=b"[]," * 100_000),
        faults.hang(),
        _endless_gzip(),
    ]


def encodings() -> list[Fault]:
    """Return what is packed, once, often, wrongly, or not as it says."""
    small = b'{"data": null}'
    return [
        faults.bomb(64),
        faults.bomb(64, layers=2),
        faults.bomb(64, layers=3),
        encoded(gzip.compress(b'{"value":[' + b"[]," * (10 * MIB) + b"[]]}"), "gzip"),
        encoded(gzip.compress(b'{"data":[' + b"[]," * (MIB // 4) + b"[]]}"), "gzip"),
        encoded(gzip.compress(gzip.compress(small)), "gzip, gzip"),
        encoded(zlib.compress(b" " * MIB), "deflate"),
        encoded(zlib.compress(gzip.compress(small)), "gzip, deflate"),
        encoded(b"\x28\xb5\x2f\xfd" + b"\x00" * 1000, "zstd"),
        encoded(b"\x8b\x07\x80" + b"\x00" * 1000, "br"),
        encoded(small, "identity, identity, identity"),
        encoded(gzip.compress(small), "identity, gzip, identity"),
        encoded(gzip.compress(small), ", ".join(["gzip"] * 5000)),
        encoded(small, "compress, of-my-own"),
        encoded(small, "gzip"),
        encoded(gzip.compress(small)[:-3], "gzip"),
        encoded(gzip.compress(small) * 1000, "gzip"),
        encoded(gzip.compress(b" " * MIB) + b"more", "gzip"),
    ]


def framings() -> list[Fault]:
    """Return what is no answer, cut off, of two lengths, or leads away."""
    return [
        wire("Content-Length: 1000", body=b'{"data":', ends=True),
        wire(_CHUNKED, body=b"ffff\r\n{", ends=True),
        wire(_CHUNKED, body=b"ffffffffffffffffff\r\n{"),
        wire(_CHUNKED, body=b"-1\r\n{}\r\n0\r\n\r\n"),
        wire("Content-Length: -1", body=b"{}"),
        wire("Content-Length: 2", "Content-Length: 3", body=b"{}"),
        wire("Content-Length: 2", _CHUNKED, body=chunk(b"{}") + chunk(b""), ends=True),
        wire("X-Control: a\x00b\x01\x7f\x1b[2J", "Content-Length: 2", body=b"{}", ends=True),
        wire("no colon", "Content-Length: 2", body=b"{}", ends=True),
        wire(" folded: first", "Content-Length: 2", body=b"{}", ends=True),
        wire("X-Latin: \xe9\xff", "Content-Length: 2", body=b"{}", ends=True),
        wire("X-Long: " + "a" * 60_000, "Content-Length: 2", body=b"{}", ends=True),
        wire(*(f"X-{number}: a" for number in range(3000)), "Content-Length: 2", body=b"{}", ends=True),
        Fault(wire=Wire(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 5000 + b"HTTP/1.1 200 OK\r\n\r\n", ends=True)),
        Fault(wire=Wire(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n")),
        Fault(wire=Wire(b"HTTP/9.9 200 OK\r\n\r\n", ends=True)),
        Fault(wire=Wire(b"\x16\x03\x01" + b"\x00" * 1000, ends=True)),
        Fault(wire=Wire(b"", ends=True)),
        whole(b"", "Location: /", status="301 Moved"),
        whole(b"", "Location: https://localhost/", status="302 Found"),
        whole(b"", "Location: file:///etc/passwd", status="307 Temporary Redirect"),
        whole(b"", "Location: " + "a" * 10_000, status="308 Permanent Redirect"),
        *(whole(b"{}", status=f"{code} Odd") for code in (204, 206, 299, 304, 418, 451, 511, 600, 999)),
        wire("Content-Length: 2", body=b"{}{}{}" * 1000, ends=True),
        faults.reset("before"),
        faults.reset("after"),
        faults.reset("mid-body"),
    ]


def contents() -> list[Fault]:
    """Return what is framed well, and is not what it should be."""
    return [
        *(
            whole(body)
            for body in (
                *(b"", b"null", b"[]", b"{}", b'{"data": null}', b'{"data": []}', b'{"value": {}}'),
                *(b'{"value": [null]}', b'{"access_token": 1}', b'{"data": {"data": {"data": {}}}}'),
                *(b"NaN", b"1e999", b"9" * 500_000, b'{"data": -' + b"1" * 100_000 + b"}"),
                *(b"[" * 500_000, b'{"data":' * 100_000, b'{"data":' * 5000 + b"1" + b"}" * 5000),
                *(b"[[" * 400 + b"]]" * 400, b'"' + b"\\ud800" * 100_000 + b'"'),
                *(b'{"data":[' + b"[]," * 300_000 + b"[]]}", b'{"value":[' + b"{}," * 5_000_000 + b"{}]}"),
                *('{"data": {}}'.encode("utf-16"), b"\xff\xfe\x00" * 1000, b'{"' + b"a" * 900_000 + b'":1}'),
            )
        ),
        faults.html(200),
        faults.html(),
        faults.not_json(),
        faults.garbage(),
        whole(b"<!DOCTYPE a [<!ENTITY b 'bb'>]><a>&b;</a>", "Content-Type: application/xml"),
        whole(b"{}", "Content-Type: " + "a" * 10_000),
        whole(b"{}", 'WWW-Authenticate: Bearer claims="' + "YWFh" * 10_000 + '"', status="401 Unauthorized"),
        whole(b"{" * 200_000, status="400 Bad Request"),
        whole(b'{"error":' * 50_000, status="403 Forbidden"),
        whole(b'{"error":{"code":"' + b"a" * 500_000 + b'"}}', status="404 Not Found"),
        whole(b" " * 40 * MIB, status="500 Internal Server Error"),
        *(
            whole(b"", f"Retry-After: {wait}", status="503 Service Unavailable")
            for wait in ("-1", "9" * 5000, "nan", "Fri, 31 Dec 9999 23:59:59 GMT", "1e400")
        ),
    ]


def tricks() -> list[Fault]:
    """Return them all."""
    return [*drips(), *encodings(), *framings(), *contents()]
