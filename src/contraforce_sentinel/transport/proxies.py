"""Through which proxy a URL is asked for, as the environment says it to curl.

https://curl.se/docs/manpage.html#ENVIRONMENT: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, each in lower
or upper case. Httpx reads less of NO_PROXY, and fails where it cannot.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Self
from urllib.parse import urlsplit
from urllib.request import getproxies

from contraforce_sentinel.transport.failures import NetworkRefused

_OWN_ENDPOINTS: Final = (
    "IDENTITY_ENDPOINT",
    "MSI_ENDPOINT",
    "IMDS_ENDPOINT",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
)
"""Where azure-identity asks for tokens of the managed identity, with a secret in a header."""

_METADATA: Final = ip_network("169.254.0.0/16")
"""Where a machine asks for its own identity: a proxy would ask for its own."""

_PORTS: Final = {"http": 80, "https": 443}
_VISIBLE: Final = re.compile(r"[!-~]+")

type _Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Proxy:
    """The URL of a proxy, and the variable that it stands in."""

    url: str
    variable: str

    @classmethod
    def checked(cls, url: str, *, variable: str) -> Self:
        """Raises `NetworkRefused` for what is not the URL of a proxy that can be used."""
        found = cls(url if "://" in url else f"http://{url}", variable)
        try:
            parts = urlsplit(found.url)
            host = parts.hostname or ""
            is_usable = parts.scheme in _PORTS and host != "" and parts.port != 0
            if "[" in parts.netloc or host.replace(".", "").isdigit():
                ip_address(host)  # or it raises
        except ValueError:
            is_usable = False
        if not is_usable or not _VISIBLE.fullmatch(url):
            raise found.refused()
        return found

    def refused(self) -> NetworkRefused:
        """Return what is said of a URL that cannot be used."""
        problem = "is not the http:// or https:// URL of a proxy (percent-encode the signs of its password)"
        return NetworkRefused(self.variable, problem)


class Proxies:
    """The proxies of this process's environment, read once. Raises `NetworkRefused`."""

    def __init__(self) -> None:
        found = getproxies()
        self._urls = {name: found[name].strip() for name in (*_PORTS, "all") if found.get(name, "").strip()}
        self._exceptions = [_Exception.read(entry) for entry in found.get("no", "").replace(",", " ").split()]
        self._own = own_endpoints()

    def find(self, url: str) -> Proxy | None:
        """Return the proxy for a URL, None for none. Raises `NetworkRefused`."""
        target = _Target.read(url)
        if target in self._own or (target.address is not None and target.address in _METADATA):
            return None
        if any(exception is not None and exception.covers(target) for exception in self._exceptions):
            return None
        for name in (target.scheme, "all"):
            if name in self._urls:
                return Proxy.checked(self._urls[name], variable=_variable(f"{name}_proxy"))
        return None


@dataclass(frozen=True, slots=True)
class _Target:
    """Scheme, host and port of a URL."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def read(cls, url: str) -> Self:
        """Raises `ValueError` for what is no URL."""
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        return cls(parts.scheme, host, parts.port or _PORTS.get(parts.scheme))

    @property
    def address(self) -> _Address | None:
        """The host, if it is no name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class _Exception:
    """An entry of NO_PROXY: a range of addresses, a name with all names below it, or, without either, `*`."""

    name: str = ""
    port: int | None = None
    addresses: IPv4Network | IPv6Network | None = None

    @classmethod
    def read(cls, entry: str) -> Self | None:
        """Return None for what can be none of them."""
        text = entry.lower().rpartition("://")[2]
        if text == "*":
            return cls()
        unbracketed = text.replace("[", "").replace("]", "")
        with suppress(ValueError):
            return cls(addresses=ip_network(text if "]:" in text else unbracketed, strict=False))
        with suppress(ValueError):
            parts = urlsplit(f"//{text}")
            if name := (parts.hostname or "").removeprefix("*").strip("."):
                return cls(name, parts.port)
        return None

    def covers(self, target: _Target) -> bool:
        """Whether a URL is asked for directly."""
        if self.addresses is not None:
            return target.address is not None and target.address in self.addresses
        if self.port not in {None, target.port}:
            return False
        is_below = target.address is None and target.host.endswith(f".{self.name}")
        return not self.name or target.host == self.name or is_below


def own_endpoints() -> set[_Target]:
    """Return where the managed identity is asked for tokens. Raises `NetworkRefused`."""
    found = set()
    for variable in _OWN_ENDPOINTS:
        if value := os.environ.get(variable):
            try:
                found.add(_Target.read(value))
            except ValueError:
                raise NetworkRefused(variable, "is not a URL") from None
    return found


def _variable(name: str) -> str:
    """Return how a variable is spelled in the environment; lower case comes first."""
    spelled = (one for one in (name, *os.environ) if one.lower() == name and os.environ.get(one))
    return next(spelled, "the system's proxy")
