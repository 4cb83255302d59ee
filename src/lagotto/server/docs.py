"""``/docs``: Swagger UI from files in this package, so that it works without a connection."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

from lagotto.server.package_files import PackageFiles

_FILES = Path(__file__).parent / "swagger_ui"


def mount(app: FastAPI) -> None:
    """Add the page and its files to an app. Its addresses are relative, so that a proxy may put a path before them."""
    PackageFiles(_FILES, {}).mount(app, "/docs/files")

    @app.get("/docs", include_in_schema=False)
    async def page() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title="Lagotto",
            swagger_js_url="docs/files/swagger-ui-bundle.js",
            swagger_css_url="docs/files/swagger-ui.css",
            swagger_favicon_url="docs/files/favicon-32x32.png",
        )
