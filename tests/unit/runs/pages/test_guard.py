"""What a foreign page, a stranger and a curious colleague can do to Dagster's pages, and that people can still work."""

from __future__ import annotations

import json
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from banana_delivery.runs.pages import guard
from banana_delivery.runs.pages.callers import Callers
from banana_delivery.runs.pages.guard import Guard
from tests.unit.runs.pages.conftest import HOME, Pages

SOCKET = "ws://localhost:3000/graphql"
FOREIGN = "https://evil.example"
OVERRIDE = {
    "query": "mutation ($p: ReportRunlessAssetEventsParams!) {"
    " reportRunlessAssetEvents(eventParams: $p) { __typename ... on PythonError { message } } }",
    "variables": {
        "p": {
            "eventType": "ASSET_OBSERVATION",
            "assetKey": {"path": ["rollout_log"]},
            "partitionKeys": ["9"],
            "description": "override by cfo",
        }
    },
}
LAUNCH = {
    "query": "mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {"
    " __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }",
    "variables": {
        "params": {
            "selector": {"repositoryLocationName": "small", "repositoryName": "__repository__", "jobName": "deliver"},
            "runConfigData": {},
        }
    },
}
READ = {"query": "{ __typename }"}


def launched(instance: dg.DagsterInstance) -> int:
    return instance.get_runs_count()


def overrides(instance: dg.DagsterInstance) -> int:
    return len(instance.fetch_observations(dg.AssetKey("rollout_log"), limit=100).records)


def said(answer: Any) -> str:
    return str(answer.json()["errors"][0]["message"])


# What people do.


def test_the_pages_are_shown_with_all_that_dagster_says_of_itself(pages: Pages) -> None:
    page = pages().get("/runs")
    assert page.status_code == 200
    assert '<div id="root"' in page.text or "__next" in page.text
    policies = page.headers.get_list("content-security-policy")
    assert len(policies) == 2, "Dagster's own policy still stands"
    assert any("frame-ancestors 'self'" in policy and "img-src 'self'" in policy for policy in policies)


def test_a_mail_may_lead_to_the_pages(pages: Pages) -> None:
    there = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert pages().get("/runs/17", headers=there).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Origin": HOME}, {"Origin": HOME, "Sec-Fetch-Site": "same-origin"}])
def test_queries_are_answered_to_the_pages_and_to_programs(pages: Pages, headers: dict[str, str]) -> None:
    answer = pages().post("/graphql", json=READ, headers=headers)
    assert (answer.status_code, answer.json()["data"]) == (200, {"__typename": "Query"})


def test_a_query_may_still_be_asked_by_get(pages: Pages) -> None:
    assert pages().get("/graphql", params=READ).json()["data"] == {"__typename": "Query"}


def test_a_run_is_launched_from_the_pages(pages: Pages, instance: dg.DagsterInstance) -> None:
    before = launched(instance)
    answer = pages().post("/graphql", json=LAUNCH, headers={"Origin": HOME, "Sec-Fetch-Site": "same-origin"})
    assert answer.json()["data"]["launchRun"]["run"]["runId"]
    assert launched(instance) == before + 1


def test_what_happens_is_followed_by_a_socket(pages: Pages, instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(small_job())
    follow = "subscription ($id: ID!) { pipelineRunLogs(runId: $id) { __typename } }"
    with pages().websocket_connect(SOCKET, subprotocols=["graphql-ws"], headers={"Origin": HOME}) as socket:
        socket.send_json({"type": "connection_init"})
        assert socket.receive_json()["type"] == "connection_ack"
        start = {"type": "start", "id": "1", "payload": {"query": follow, "variables": {"id": run.run_id}}}
        socket.send_json(start)
        answer = socket.receive_json()
        assert (answer["type"], "errors" in answer["payload"]) == ("data", False)


def small_job() -> dg.JobDefinition:
    @dg.job
    def empty() -> None:
        """Nothing."""

    return empty


@pytest.mark.parametrize(
    "request_",
    [
        {"method": "GET", "params": {"query": LAUNCH["query"], "variables": json.dumps(LAUNCH["variables"])}},
        {"method": "POST", "params": {"query": LAUNCH["query"], "variables": json.dumps(LAUNCH["variables"])}},
        {"content": json.dumps(LAUNCH), "headers": {"Content-Type": "text/plain; application/json", "Origin": FOREIGN}},
        {"json": OVERRIDE, "headers": {"Origin": FOREIGN}},
    ],
    ids=["by get", "by form", "as text", "evidence"],
)
def test_without_the_guard_a_foreign_page_changes_things(
    everybodys: ASGIApp, instance: dg.DagsterInstance, request_: dict[str, Any]
) -> None:
    async def without_guard(scope: Scope, receive: Receive, send: Send) -> None:
        await everybodys({**scope, guard.MAY_CHANGE: True}, receive, send)

    before = launched(instance) + overrides(instance)
    answer = TestClient(without_guard).request(**{"method": "POST", "url": "/graphql", **request_})
    assert (answer.status_code, launched(instance) + overrides(instance)) == (200, before + 1)


def test_whoever_comes_past_the_guard_may_only_look(everybodys: ASGIApp, instance: dg.DagsterInstance) -> None:
    before = launched(instance)
    answer = TestClient(everybodys).post("/graphql", json=LAUNCH)
    assert answer.json()["data"]["launchRun"]["__typename"] == "UnauthorizedError"
    assert launched(instance) == before


# What a foreign page in the same browser can send without asking.


def refused(client: TestClient, instance: dg.DagsterInstance, status: int, **request: Any) -> None:
    before = launched(instance), overrides(instance)
    answer = client.request(**request)
    assert answer.status_code == status, answer.text
    assert (launched(instance), overrides(instance)) == before


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "query",
    [
        "mutation { setNuxSeen }",
        "query a { version } mutation b { setNuxSeen }",
        "subscription { locationStateChangeEvents { __typename } }",
        "# query\nmutation{setNuxSeen}",
        "fragment f on Mutation { setNuxSeen } mutation { ...f }",
    ],
)
def test_nothing_is_changed_or_followed_by_get(
    pages: Pages, instance: dg.DagsterInstance, method: str, query: str
) -> None:
    request = {"method": method, "url": "/graphql", "params": {"query": query, "operationName": "b"}}
    refused(pages(), instance, 405, **request)


def test_a_launch_by_get_launches_nothing(pages: Pages, instance: dg.DagsterInstance) -> None:
    params = {"query": LAUNCH["query"], "variables": json.dumps(LAUNCH["variables"])}
    refused(pages(), instance, 405, method="GET", url="/graphql", params=params)


def test_two_queries_in_one_address_are_not_chosen_between(pages: Pages, instance: dg.DagsterInstance) -> None:
    both = [("query", READ["query"]), ("query", "mutation { setNuxSeen }")]
    refused(pages(), instance, 400, method="GET", url="/graphql", params=both)


@pytest.mark.parametrize("path", ["/graphql%0A", "/graphql%0D", "/./graphql%00", "/x/..%2fgraphql", "/graphql%5C"])
def test_a_path_that_only_looks_like_another_one_leads_nowhere(
    pages: Pages, instance: dg.DagsterInstance, path: str
) -> None:
    # Starlette's router takes "/graphql\n" for "/graphql".
    url = f"{HOME}{path}?query={LAUNCH['query']}"
    refused(pages(), instance, 400, method="GET", url=url)


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "text/plain; application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "application/graphql",
        "text/plain;charset=application/json",
        "",
    ],
)
def test_what_a_form_can_send_is_not_taken(pages: Pages, instance: dg.DagsterInstance, kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {}
    body = {"method": "POST", "url": "/graphql", "content": json.dumps(LAUNCH)}
    refused(pages(), instance, 415, headers=headers, **body)


def test_a_form_whose_address_holds_the_mutation_is_not_taken(pages: Pages, instance: dg.DagsterInstance) -> None:
    params = {"query": LAUNCH["query"], "variables": json.dumps(LAUNCH["variables"])}
    refused(pages(), instance, 415, method="POST", url="/graphql", params=params, data={"a": "b"})


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": FOREIGN},
        {"Origin": "null"},
        {"Origin": "http://localhost:8080"},
        {"Origin": "https://localhost:3000"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "http://localhost:3000.evil.example"},
        {"Origin": "http://localhost:3000@evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": HOME, "Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_another_page_may_not_ask(pages: Pages, instance: dg.DagsterInstance, headers: dict[str, str]) -> None:
    refused(pages(), instance, 403, method="POST", url="/graphql", json=LAUNCH, headers=headers)
    refused(pages(), instance, 403, method="POST", url="/graphql", json=READ, headers=headers)


def test_no_preflight_is_answered_with_a_permission(pages: Pages) -> None:
    asks = {"Origin": FOREIGN, "Access-Control-Request-Method": "POST"}
    answer = pages().options("/graphql", headers=asks)
    assert answer.status_code == 405
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_a_picture_may_not_ask_anything(pages: Pages, instance: dg.DagsterInstance) -> None:
    headers = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "image"}
    refused(pages(), instance, 403, method="GET", url="/graphql", params=READ, headers=headers)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:3000", "localhost.evil.example", "0.0.0.0:3000", "[::2]", "a b", ""]
)
@pytest.mark.parametrize("path", ["/", "/graphql?query={version}", "/runs"])
def test_a_strangers_name_for_this_machine_shows_nothing(pages: Pages, host: str, path: str) -> None:
    answer = pages().get(path, headers={"Host": host})
    assert (answer.status_code, "PAGES_HOSTS" in said(answer)) == (403, True)


def test_a_probe_that_knows_no_name_learns_dagsters_version_and_nothing_else(pages: Pages) -> None:
    answer = pages(pages_login_header="X-User", pages_proxies=["10.0.0.9"]).get(
        "/server_info", headers={"Host": "10.1.2.3:3000"}
    )
    assert sorted(answer.json()) == ["dagster_graphql_version", "dagster_version", "dagster_webserver_version"]


@pytest.mark.parametrize("headers", [{"Origin": FOREIGN}, {"Origin": "null"}, {"Origin": HOME, "Host": "evil.example"}])
def test_a_foreign_page_gets_no_socket(pages: Pages, headers: dict[str, str]) -> None:
    with (
        pytest.raises(WebSocketDisconnect),
        pages().websocket_connect(SOCKET, subprotocols=["graphql-ws"], headers=headers),
    ):
        pytest.fail("it was let in")


@pytest.mark.parametrize(
    "message",
    [
        {"type": "start", "id": "1", "payload": LAUNCH},
        {"type": "start"},
        [],
        {"type": "start", "payload": {"query": "{"}},
    ],
)
def test_a_socket_changes_nothing(pages: Pages, instance: dg.DagsterInstance, message: object) -> None:
    before = launched(instance)
    with pages().websocket_connect(SOCKET, subprotocols=["graphql-ws"], headers={"Origin": HOME}) as socket:
        socket.send_text(json.dumps(message))
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()
    assert launched(instance) == before


# What whoever reaches the pages can do to the evidence.


@pytest.mark.parametrize("what", ["materialization", "check", "observation"])
@pytest.mark.parametrize("kind", ["application/json", "text/plain", ""])
def test_no_evidence_is_reported(pages: Pages, instance: dg.DagsterInstance, what: str, kind: str) -> None:
    request = {"method": "POST", "url": f"/report_asset_{what}/rollout_log", "params": {"partition": "9"}}
    headers = {"Content-Type": kind} if kind else {}
    status = 403 if kind == "application/json" else 415
    refused(pages(), instance, status, **request, content=json.dumps({"check_name": "a"}), headers=headers)


SPELLINGS = [
    OVERRIDE["query"],
    "mutation { nice: wipeAssets(assetPartitionRanges: []) { __typename } }",
    'mutation { version: deleteRun(runId: "1") { __typename } }',
    "fragment f on Mutation { wipeAssets(assetPartitionRanges: []) { __typename } } mutation { ...f }",
    "mutation { ... { ... on Mutation { wipeAssets(assetPartitionRanges: []) { __typename } } } }",
    "query a { version } mutation b { wipeAssets(assetPartitionRanges: []) { __typename } }",
    "mutation { notYetInvented }",
]


@pytest.mark.parametrize("query", SPELLINGS)
def test_no_evidence_is_made_up_or_taken_away_by_graphql(
    pages: Pages, instance: dg.DagsterInstance, query: str
) -> None:
    asked = {"query": query, "variables": OVERRIDE["variables"], "operationName": "a"}
    refused(pages(), instance, 403, method="POST", url="/graphql", json=asked, headers={"Origin": HOME})


def test_a_batch_is_not_taken(pages: Pages, instance: dg.DagsterInstance) -> None:
    refused(pages(), instance, 400, method="POST", url="/graphql", json=[READ, OVERRIDE])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[" * 200_000, 400),
        (b'{"query": ["mutation"]}', 400),
        (json.dumps({"query": "{a" * 9_000}).encode(), 400),
        (json.dumps({"query": "{" + "a " * 30_000 + "}"}).encode(), 400),
        (b'{"query": "' + b"a" * guard.MOST_BYTES + b'"}', 413),
    ],
    ids=["torn", "deep", "list", "nested", "long", "large"],
)
def test_what_nobody_can_read_is_one_sentence(pages: Pages, body: bytes, status: int) -> None:
    answer = pages().post("/graphql", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert said(answer).endswith(".")


def test_evidence_can_be_reported_where_somebody_wants_that(pages: Pages, instance: dg.DagsterInstance) -> None:
    before = overrides(instance)
    answer = pages(pages_edit_history=True).post("/graphql", json=OVERRIDE)
    assert answer.json()["data"]["reportRunlessAssetEvents"]["__typename"] == "ReportRunlessAssetEventsSuccess"
    report = pages(pages_edit_history=True).post(
        "/report_asset_observation/rollout_log", json={"description": "by hand"}
    )
    assert report.status_code == 200
    assert overrides(instance) == before + 2


# Pages that only show, and pages that ask who somebody is.


def test_pages_that_only_show_launch_nothing_and_offer_nothing(pages: Pages, instance: dg.DagsterInstance) -> None:
    shown = pages(pages_read_only=True)
    refused(shown, instance, 403, method="POST", url="/graphql", json=LAUNCH)
    asked = {"query": "{ permissions { permission value } }"}
    permissions = {
        one["permission"]: one["value"] for one in shown.post("/graphql", json=asked).json()["data"]["permissions"]
    }
    assert not permissions["launch_pipeline_execution"]
    assert shown.get("/runs").status_code == 200
    assert shown.post("/graphql", json={"query": "mutation { setNuxSeen }"}).status_code == 200


def test_the_command_line_delivers_past_pages_that_only_show(pages: Pages, instance: dg.DagsterInstance) -> None:
    shown, before = pages(pages_read_only=True, pages_token=SecretStr("a long token of ours")), launched(instance)
    for token in ("another token of ours", "a long token of our", ""):
        refused(
            shown,
            instance,
            403,
            method="POST",
            url="/graphql",
            json=LAUNCH,
            headers={"Authorization": f"Bearer {token}"},
        )
    answer = shown.post("/graphql", json=LAUNCH, headers={"Authorization": "Bearer a long token of ours"})
    assert answer.json()["data"]["launchRun"]["run"]
    assert launched(instance) == before + 1


BEHIND_A_PROXY = {"pages_login_header": "X-Forwarded-User", "pages_proxies": ["10.0.0.0/24"]}


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        ("10.0.0.7", {"X-Forwarded-User": "ana@example.com"}, 200),
        ("::ffff:10.0.0.7", {"X-Forwarded-User": "ana"}, 200),
        ("10.0.0.7", {}, 401),
        ("10.0.0.7", {"X-Forwarded-User": ""}, 401),
        ("10.0.0.7", {"X-Forwarded-User": "ana\x1b[2J"}, 401),
        ("10.0.0.7", {"X_Forwarded_User": "ana"}, 401),
        ("10.0.1.7", {"X-Forwarded-User": "ana"}, 401),
        ("127.0.0.1", {"X-Forwarded-User": "ana", "X-Forwarded-For": "10.0.0.7"}, 401),
        ("nowhere", {"X-Forwarded-User": "ana"}, 401),
    ],
)
@pytest.mark.parametrize("path", ["/runs", "/graphql?query={version}"])
def test_only_a_named_proxy_says_who_somebody_is(
    pages: Pages, peer: str, headers: dict[str, str], status: int, path: str
) -> None:
    assert pages(peer, **BEHIND_A_PROXY).get(path, headers=headers).status_code == status


def test_a_socket_wants_a_login_too(pages: Pages) -> None:
    with pytest.raises(WebSocketDisconnect), pages(**BEHIND_A_PROXY).websocket_connect(SOCKET):
        pytest.fail("it was let in")


def test_who_changed_something_stands_in_the_log(pages: Pages, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", guard.LOG.name)
    pages("10.0.0.7", **BEHIND_A_PROXY).post("/graphql", json=LAUNCH, headers={"X-Forwarded-User": "ana"})
    assert "'ana' asks from 10.0.0.7: launchRun" in caplog.text


PUBLIC = {"dagster_public_url": "https://dagster.example.com/", "pages_hosts": ["dagster.internal"]}


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("dagster.example.com", "https://dagster.example.com", 200),
        ("dagster.example.com", "https://dagster.example.com:443", 200),
        ("dagster.internal:3000", "https://dagster.example.com", 200),
        ("dagster.internal:3000", "http://dagster.internal:3000", 200),
        ("dagster.example.com", "http://dagster.example.com:443", 403),
        ("dagster.example.com", "https://example.com", 403),
        ("example.com", "https://example.com", 403),
    ],
)
def test_pages_behind_tls_know_their_own_name(pages: Pages, host: str, origin: str, status: int) -> None:
    answer = pages(**PUBLIC).post("/graphql", json=READ, headers={"Host": host, "Origin": origin})
    assert answer.status_code == status


# Pages of our own.


async def own_page(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(f"ours: {scope['path']}")(scope, receive, send)


def with_own_page(**kept: Any) -> TestClient:
    async def dagsters(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("Dagster's")(scope, receive, send)

    callers = Callers([], **kept)
    return TestClient(Guard(dagsters, callers, ours=own_page), base_url=HOME, client=("127.0.0.1", 5))


def test_a_page_of_our_own_is_shown_below_its_path_and_nowhere_else() -> None:
    pages = with_own_page()
    assert pages.get("/delivery").text == "ours: /delivery"
    assert pages.get("/delivery/events").text == "ours: /delivery/events"
    assert pages.get("/deliveryx").text == "Dagster's"
    assert pages.get("/delivery").headers["x-content-type-options"] == "nosniff"


def test_a_mail_may_lead_to_our_page_and_a_foreign_page_may_not_ask_for_what_it_shows() -> None:
    pages = with_own_page()
    led = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert pages.get("/delivery", headers=led).status_code == 200
    for headers in (
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "script"},
        {"Origin": FOREIGN},
    ):
        assert pages.get("/delivery/events", headers=headers).status_code == 403


def test_our_page_asks_for_the_name_and_the_login_like_the_others_and_takes_nothing() -> None:
    pages = with_own_page(login_header="X-Forwarded-User", proxies=["10.0.0.7/32"])
    assert pages.get("/delivery").status_code == 401
    assert with_own_page().get("/delivery", headers={"Host": "evil.example"}).status_code == 403
    assert with_own_page().post("/delivery/events", json={}).status_code == 405
