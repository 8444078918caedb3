"""GET /docs: the API as a page that is served whole from here: it needs no internet, and tells no other host."""

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

ASSETS = "docs/assets"


def add_docs(api: FastAPI) -> None:
    """Adds the page and Swagger UI's files, which the package `fastapi-swagger` carries.

    Its own routes are left out: they name the files by the host and scheme that this process sees, which behind a
    router that ends TLS are not those of the browser. Here all addresses are relative to the page.
    """
    api.mount(f"/{ASSETS}", StaticFiles(packages=[("fastapi_swagger", "resources")]))

    @api.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=api.title,
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS}/favicon-32x32.png",
        )
