"""Delivering by Dagster+, as far as it can be had here: Dagster's own webserver behind TLS, which demands the token."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from banana_delivery import cli
from banana_delivery.delivery.ending import remote
from banana_delivery.errors import DagsterError
from tests.support.pipeline import PipelineHarness
from tests.support.served import TOKEN, serve
from tests.unit.targets.kubernetes.certificates import write_certificate

CLOUD_TOKEN = "user:of-the-organization"
PREFIX = "/prod"


@contextmanager
def cloud(pages: str, folder: Path) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """An address that lets nobody in without the token; yields it, and the headers of all who came."""
    came: list[dict[str, str]] = []

    class Cloud(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append({name.lower(): value for name, value in self.headers.items()})
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, said = 401, b"{}"
            if self.headers["Dagster-Cloud-Api-Token"] == CLOUD_TOKEN and self.path.startswith(f"{PREFIX}/"):
                inner = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
                url = pages + self.path.removeprefix(PREFIX)
                answer = httpx.post(url, content=body, headers=inner, timeout=60.0, trust_env=False)
                status, said = answer.status_code, answer.content
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    certificate, key = write_certificate(folder, "cloud")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with ThreadingHTTPServer(("127.0.0.1", 0), Cloud) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"https://127.0.0.1:{server.server_port}{PREFIX}", came
        finally:
            server.shutdown()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine that was never set up but for its tokens."""
    monkeypatch.setenv("BANANA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BANANA_PAGES_TOKEN", "of pages of one's own")
    monkeypatch.setenv("DAGSTER_CLOUD_API_TOKEN", CLOUD_TOKEN)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cloud.crt"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.setattr(remote, "LOOK_SECONDS", 0.05)
    return tmp_path


def test_a_version_is_released_by_graphql_and_the_token_alone(
    pipeline: PipelineHarness, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = pipeline.stage(0.95)
    with serve(pipeline) as pages, cloud(pages, elsewhere) as (server, came):
        monkeypatch.setenv("DAGSTER_CLOUD_URL", server)
        done = CliRunner().invoke(cli.app, ["deliver", version, "--server", server])

        assert done.exit_code == 0, done.output
        assert pipeline.serving == version
        assert done.output.startswith(f"Version {version}: {server}/runs/")
        assert CLOUD_TOKEN not in done.output
        assert {one["dagster-cloud-api-token"] for one in came} == {CLOUD_TOKEN}
        assert not any("authorization" in one for one in came), "the pages' token is not for Dagster+"


def test_a_token_that_is_not_theirs_or_an_unknown_authority_ends_it_before_anything_began(
    pipeline: PipelineHarness, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cloud("http://127.0.0.1:9", elsewhere) as (server, came):
        monkeypatch.setenv("DAGSTER_CLOUD_URL", server)
        monkeypatch.setenv("DAGSTER_CLOUD_API_TOKEN", "another")
        with pytest.raises(DagsterError, match="refused: HTTP 401"):
            CliRunner().invoke(cli.app, ["deliver", "7", "--server", server], catch_exceptions=False)
        asked = len(came)
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(DagsterError, match="does not answer"):
            CliRunner().invoke(cli.app, ["deliver", "7", "--server", server], catch_exceptions=False)
        assert len(came) == asked


def test_an_address_that_is_not_dagster_plus_gets_no_token_of_it(
    pipeline: PipelineHarness, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cloud("http://127.0.0.1:9", elsewhere) as (server, came):
        monkeypatch.setenv("DAGSTER_CLOUD_URL", "https://dagster.example.com/prod")
        with pytest.raises(DagsterError, match="refused: HTTP 401"):
            CliRunner().invoke(cli.app, ["deliver", "7", "--server", server], catch_exceptions=False)
        assert "dagster-cloud-api-token" not in came[0]
