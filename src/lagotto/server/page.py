"""``/`` in a browser: a page to try the models with, from files in this package; see ``web_page/index.html``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.routing import Match, Route
from starlette.types import Scope

from lagotto.server.package_files import PackageFiles

FILES = Path(__file__).parent / "web_page"
PATH = "/page"
"""Where the page's files are. It names them relative to itself, so that a proxy may put a path before all of them."""
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
"""Content-Security-Policy: nothing from elsewhere, nothing inline, no text that becomes markup, in nobody's frame."""
_HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "vary": "accept",
}


def mount(app: FastAPI) -> None:
    """Add the page and its files to an app; before its other routes, one of which is at ``/`` too."""
    files = PackageFiles(FILES, _HEADERS)
    files.mount(app, PATH)

    async def page(request: Request) -> Response:
        return files.answer("index.html", request)

    app.router.routes.append(_ForBrowsers("/", page, methods=["GET", "HEAD"], include_in_schema=False))


class _ForBrowsers(Route):
    """A route for those who ask for HTML, as browsers do; probes and TEI's clients do not, and take the next one."""

    def matches(self, scope: Scope) -> tuple[Match, Any]:
        """No match at all but for ``Accept: text/html`` and the methods that read."""
        asked = b",".join(value for name, value in scope.get("headers", ()) if name == b"accept")
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or b"text/html" not in asked.lower():
            return Match.NONE, {}
        return super().matches(scope)
