import gzip
import io
import re
import tarfile
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests import ROOT
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
        "docs/source.tar.gz": "application/gzip",
    }
    assert {answer.status_code for answer in files.values()} == {200}


def test_whoever_uses_the_service_can_have_the_code_that_answers_him(tmp_path: Path) -> None:
    with client_of(build_replica(tmp_path)) as client:
        said = client.get("/openapi.json").json()
        archive = client.get(f"/{re.findall(r'<(.+)>', said['info']['description'])[0]}").content
        again = client.get("/docs/source.tar.gz").content
    assert said["info"]["license"]["identifier"] == "AGPL-3.0-or-later"
    assert archive == again
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(archive))) as tar:
        names = set(tar.getnames())
        there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "serving").rglob("*.py")}
        assert there <= names
        assert not [name for name in names if "__pycache__" in name or name.startswith(("/", "..", "model"))]
        source = tar.extractfile("serving/http/docs.py")
        assert source is not None
        assert source.read() == (ROOT / "serving/http/docs.py").read_bytes()


def test_whoever_has_a_replicas_address_can_have_the_client(tmp_path: Path) -> None:
    with client_of(build_replica(tmp_path)) as client:
        answer = client.get("/docs/client.py")
    assert answer.headers["content-type"].startswith("text/x-python")
    assert answer.content == (ROOT / "serving/client.py").read_bytes()


def test_what_somebody_publishes_himself_is_named_instead(tmp_path: Path) -> None:
    url = "https://git.example.com/bananas?at=v1&raw=1"
    with client_of(build_replica(tmp_path, source_url=url)) as client:
        assert f"(<{url}>)" in client.get("/openapi.json").json()["info"]["description"]
        assert 'href="https://git.example.com/bananas?at=v1&amp;raw=1"' in client.get("/docs").text


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "git.example.com", 'https://a"onclick=x', "https://a b", "file:///etc"]
)
def test_what_is_no_address_of_the_web_is_refused_as_the_source(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValidationError, match="source_url"):
        build_replica(tmp_path, source_url=url)


@pytest.mark.parametrize("path", ["/redoc", "/docs/oauth2-redirect", "/docs/assets/none.js"])
def test_no_other_page_and_no_other_file_is_there(tmp_path: Path, path: str) -> None:
    with client_of(build_replica(tmp_path)) as client:
        answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "http_error"
