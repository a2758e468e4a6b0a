"""How this process gets to the remote services: the certificates that it trusts, and its proxies.

Both are variables of the environment. Nothing here needs httpx, which a look at health does not wait for.
"""

import os
import ssl
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from pathlib import Path

from contraforce_sentinel.transport.failures import NetworkRefused
from contraforce_sentinel.transport.proxies import Proxies, Proxy


class Network:
    """Certificates and proxies, read with their first use; `tls` stands in for the environment's.

    What cannot be used raises `NetworkRefused`, each time.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._given = tls

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """One for all connections: reading the certificates takes longer than a request."""
        if (found := self._given or self._certificates) is not None:
            return found
        from httpx import create_ssl_context  # noqa: PLC0415 - it brings certificates

        return create_ssl_context(trust_env=False)

    @cached_property
    def _certificates(self) -> ssl.SSLContext | None:
        return _certificates()

    @cached_property
    def _proxies(self) -> Proxies:
        return Proxies()

    def proxy_for(self, url: str) -> Proxy | None:
        """Return the proxy through which a URL is asked for, None for none."""
        return self._proxies.find(url)

    def problems(self, urls: Iterable[str]) -> dict[str, str]:
        """Return what keeps these URLs from being asked for, by the name of the variable."""
        found: dict[str, str] = {}
        looks: list[Callable[[], object]] = [lambda: self._certificates]
        looks += [partial(self.proxy_for, url) for url in urls]
        for look in looks:
            try:
                look()
            except NetworkRefused as error:
                found[error.variable] = error.problem
        return found


def _certificates() -> ssl.SSLContext | None:
    """Return a context with the certificates that the environment names, None if it names none."""
    if log := os.environ.get("SSLKEYLOGFILE"):  # Python opens it for every context
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).keylog_filename = log
        except OSError:
            raise NetworkRefused("SSLKEYLOGFILE", "names no file that can be written") from None
    if file := os.environ.get("SSL_CERT_FILE"):
        try:
            return ssl.create_default_context(cafile=file)
        except OSError:  # ssl.SSLError, of a file without certificates, is one
            raise NetworkRefused("SSL_CERT_FILE", "names no file of certificates that can be read") from None
    if folders := os.environ.get("SSL_CERT_DIR"):
        if not any(Path(folder).is_dir() for folder in folders.split(os.pathsep)):
            raise NetworkRefused("SSL_CERT_DIR", "names no folder")
        return ssl.create_default_context(capath=folders)
    return None
