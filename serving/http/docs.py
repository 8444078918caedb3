"""GET /docs: the API as a page that is served whole from here: it needs no internet, and tells no other host.

GET /docs/source.tar.gz: the code that answers. Its licence, the AGPL, gives whoever uses a service over a network a
right to the source of that very service (section 13), so every replica has it and the page says where.

GET /docs/client.py: the Python client, for who has no other file of this package.
"""

import gzip
import html
import io
import tarfile
from functools import cache
from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

ASSETS = "docs/assets"
SOURCE = "docs/source.tar.gz"
CLIENT = "docs/client.py"
LICENCE = "AGPL-3.0-or-later"
OFFER = f"Source code of this service, under {LICENCE}"
_PACKAGE = Path(__file__).resolve().parents[1]
_BESIDE = ("requirements.txt",)
"""The lock, which a release image has beside the package."""


def described(description: str, source_url: str) -> str:
    """A description of the API, in Markdown, that says where its source is; OpenAPI has no field that may be relative.

    Args:
        description: what it does.
        source_url: where somebody publishes the source; empty if nowhere, then this replica does.
    """
    return f"{description} [{OFFER}](<{source_url or SOURCE}>)."


def add_docs(api: FastAPI, source_url: str) -> None:
    """Adds the page, the source, and Swagger UI's files, which the package `fastapi-swagger` carries.

    Its own routes are left out: they name the files by the host and scheme that this process sees, which behind a
    router that ends TLS are not those of the browser. Here all addresses are relative to the page.

    Args:
        api: the application.
        source_url: see `described`; the page shows it also where no script runs.
    """
    api.mount(f"/{ASSETS}", StaticFiles(packages=[("fastapi_swagger", "resources")]))

    @api.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        page = get_swagger_ui_html(
            openapi_url="openapi.json",
            title=api.title,
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS}/favicon-32x32.png",
        )
        link = f'<a href="{html.escape(source_url or SOURCE)}">{OFFER}</a>'
        return HTMLResponse(bytes(page.body).decode().replace("</body>", f"<footer>{link}</footer>\n</body>"))

    @api.get(f"/{SOURCE}", include_in_schema=False)
    def source_code() -> Response:
        return Response(source_archive(), media_type="application/gzip")

    @api.get(f"/{CLIENT}", include_in_schema=False)
    def client() -> Response:
        return Response((_PACKAGE / "client.py").read_bytes(), media_type="text/x-python")


@cache
def source_archive(package: Path = _PACKAGE) -> bytes:
    """The files of the running code as a tar, compressed; the same files give the same bytes."""
    beside = [package.parent / name for name in _BESIDE]
    inside = [path for path in package.rglob("*") if "__pycache__" not in path.parts]
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for path in sorted(path for path in [*beside, *inside] if path.is_file()):
            member = tarfile.TarInfo(path.relative_to(package.parent).as_posix())
            content = path.read_bytes()
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0)
