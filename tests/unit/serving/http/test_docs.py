import re
from pathlib import Path

import pytest

from tests.unit.serving.clients import build_replica, client_of

ADDRESS = re.compile(r"""(?:src|href|url)(?:=|: )["']([^"']+)["']""")


def test_the_page_is_made_of_nothing_but_what_this_replica_serves(tmp_path: Path) -> None:
    with client_of(build_replica(tmp_path)) as client:
        page = client.get("/docs")
        files = {address: client.get(f"/{address}") for address in ADDRESS.findall(page.text)}
    assert "//" not in "".join(files)
    # Both names of JavaScript's type are in use: Dagster's pages, once imported, set the older one for the process.
    kinds = {address: answer.headers["content-type"].split(";")[0] for address, answer in files.items()}
    assert {address: kind.replace("application/javascript", "text/javascript") for address, kind in kinds.items()} == {
        "docs/assets/swagger-ui.css": "text/css",
        "docs/assets/favicon-32x32.png": "image/png",
        "docs/assets/swagger-ui-bundle.js": "text/javascript",
        "openapi.json": "application/json",
    }
    assert {answer.status_code for answer in files.values()} == {200}


@pytest.mark.parametrize("path", ["/redoc", "/docs/oauth2-redirect", "/docs/assets/none.js"])
def test_no_other_page_and_no_other_file_is_there(tmp_path: Path, path: str) -> None:
    with client_of(build_replica(tmp_path)) as client:
        answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "http_error"
