"""`Target`: where requests go: the endpoint's address, and the proxy of the environment where there is one."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http.client import HTTPConnection, HTTPSConnection
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from lagotto.core.errors import ConfigError

_ROUTE = "/chat/completions"


@dataclass(frozen=True)
class Target:
    """The route of chat completions below a base address.

    ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY`` are honoured. Certificates are checked against the system's, or
    those that ``SSL_CERT_FILE`` names.
    """

    base: str
    _parts: SplitResult = field(repr=False)

    @classmethod
    def parse(cls, base: str) -> Target:
        """The target of a base address such as ``https://api.example.org/v1``. Raises `ConfigError` for another."""
        hint = "give one like http://127.0.0.1:11434/v1"
        if not isinstance(base, str) or base != base.strip() or not base.isprintable():
            raise ConfigError(f"the endpoint's address is {base!r}; {hint}")
        try:
            parts = urlsplit(base)
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"the endpoint's address {base!r} is no URL ({error}); {hint}") from None
        if parts.username is not None or parts.password is not None:
            raise ConfigError("the endpoint's address holds a user or password; put the key into the environment")
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise ConfigError(f"the endpoint's address is {base!r}; {hint}")
        if parts.query or parts.fragment:
            raise ConfigError(f"the endpoint's address {base!r} has a query or fragment; {hint}")
        path = parts.path.rstrip("/")
        if path.endswith(_ROUTE):
            raise ConfigError(f"the endpoint's address {base!r} names the route; leave {_ROUTE} out")
        if not path.isascii() or " " in path:
            raise ConfigError(f"the endpoint's address {base!r} has a space or non-ASCII in it; escape it with %")
        return cls(base.rstrip("/"), parts._replace(path=path + _ROUTE))

    def connect(self, seconds: float) -> tuple[HTTPConnection, str, Mapping[str, str]]:
        """(a connection that is not open yet, what to ask it for, headers for a proxy)."""
        parts = self._parts
        host, tls = str(parts.hostname), parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        proxy = None if proxy_bypass(f"{host}:{port}") else getproxies().get(parts.scheme)
        if proxy is None:
            connection = (
                HTTPSConnection(host, port, timeout=seconds, context=self._context)
                if tls
                else HTTPConnection(host, port, timeout=seconds)
            )
            return connection, parts.path, {}
        way = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if way.scheme != "http" or not way.hostname:
            raise ConfigError(f"the environment's proxy for {parts.scheme} is {way.scheme}://; only http:// works")
        headers = _authorization(way)
        if not tls:
            return HTTPConnection(way.hostname, way.port or 80, timeout=seconds), parts.geturl(), headers
        tunnel = HTTPSConnection(way.hostname, way.port or 80, timeout=seconds, context=self._context)
        tunnel.set_tunnel(host, port, headers)
        return tunnel, parts.path, {}

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context()


def _authorization(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    words = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(words.encode()).decode("ascii")}
