"""What is asked of Dagster's pages is what they understand, and what they say of other code locations is heeded."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from dagster_graphql.schema import create_schema
from graphql import parse, validate

from banana_delivery.errors import DagsterError
from banana_delivery.runs import client
from banana_delivery.runs.client import DagsterClient
from banana_delivery.runs.code_location import CodeLocation

QUERIES = [
    "LAUNCH_RUN",
    "LAUNCH_BACKFILL",
    "RUN_STEPS",
    "RUN_TAGGED",
    "ADD_PARTITION",
    "ATTEMPTS",
    "BACKFILL_RUNS",
    "SHARED_KEYS",
]


@pytest.mark.parametrize("name", QUERIES)
def test_dagsters_own_schema_has_all_that_is_asked(name: str) -> None:
    assert validate(create_schema().graphql_schema, parse(getattr(client, name))) == []


class Pages(BaseHTTPRequestHandler):
    """Pages that know two code locations with one asset of ours."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        paths = [key["path"] for key in asked["variables"].get("keys", [])]
        shared = [path for path in paths if path == ["image"]]
        repositories = [{"location": {"name": name}} for name in ("banana-delivery", "other-team")]
        collisions = [{"assetKey": {"path": path}, "repositories": repositories} for path in shared]
        launched = {"__typename": "LaunchRunSuccess", "run": {"runId": "17"}}
        answer: dict[str, object] = {"assetNodeDefinitionCollisions": collisions}
        if "launchRun" in asked["query"]:
            answer = {"launchRun": launched}
        body = json.dumps({"data": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def pages() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_nothing_is_launched_while_another_location_has_an_asset_of_ours(pages: str) -> None:
    says = r"image is made by the code locations banana-delivery and other-team.*PREFIX"
    with pytest.raises(DagsterError, match=says):
        DagsterClient(pages).launch("deliver", "7", {})


def test_with_a_prefix_it_is_launched(pages: str) -> None:
    assert DagsterClient(pages, CodeLocation(prefix=("team",))).launch("deliver", "7", {}) == "17"


class Guarded(BaseHTTPRequestHandler):
    """Pages that let nobody in without a token."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        # The second is how Dagster+ is told, and for nobody else.
        shown = (self.headers["Authorization"], self.headers["Dagster-Cloud-Api-Token"])
        known = shown in {("Bearer ours", None), (None, "of Dagster+")}
        data = {"runOrError": {"status": "QUEUED", "stepStats": []}}
        body = json.dumps({"data": data} if known else {"errors": [{"message": "Come by the proxy."}]}).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_the_token_lets_the_command_line_in_and_a_refusal_is_told_as_one() -> None:
    with HTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(DagsterError, match=r"refused: Come by the proxy\.$"):
            DagsterClient(url).steps("1")
        assert DagsterClient(url, token="ours").steps("1") == ("QUEUED", {})
        assert DagsterClient(url, token="ours", cloud_token="of Dagster+").steps("1") == ("QUEUED", {})
        server.shutdown()
