from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from banana_delivery.notifications import Notifier
from banana_delivery.policy.messages import Notice, notice
from banana_delivery.policy.outcomes import Outcome, Urgency
from banana_delivery.policy.releases import AttemptRecord

ATTEMPT = AttemptRecord(
    version="7",
    outcome=Outcome.ROLLED_BACK,
    reason="Green answered 9 of 20 user requests with an error.",
    digest="sha256:" + "a" * 64,
    serving_version="6",
    run_id="run-1",
    at=1.0,
)
NOTICE = notice("leaves", ATTEMPT, "http://127.0.0.1:3000")


@pytest.fixture
def channel() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A real HTTP endpoint that Apprise's json:// channel posts to."""
    received: list[dict[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"json://127.0.0.1:{server.server_port}", received
    server.shutdown()
    server.server_close()


def test_the_message_says_what_why_and_what_to_type() -> None:
    assert NOTICE.title == "leaves version 7 was ROLLED BACK"
    assert ATTEMPT.reason in NOTICE.body
    assert "banana-delivery override 7" in NOTICE.body
    assert "/runs/run-1" in NOTICE.body
    assert "Production serves version 6" in NOTICE.body


def test_an_event_is_told_once_even_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "notifications.jsonl"
    assert Notifier(file).tell(NOTICE)
    assert not Notifier(file).tell(NOTICE)
    assert Notifier(file).told() == [NOTICE]


def test_a_channel_gets_the_message(tmp_path: Path, channel: tuple[str, list[dict[str, str]]]) -> None:
    url, received = channel
    Notifier(tmp_path / "told", [url]).tell(NOTICE)
    assert [message["title"] for message in received] == [NOTICE.title]


def test_a_quiet_notice_goes_to_the_file_alone(tmp_path: Path, channel: tuple[str, list[dict[str, str]]]) -> None:
    url, received = channel
    quiet = Notice(key="k", title="t", body="b", urgency=Urgency.QUIET)
    assert Notifier(tmp_path / "told", [url]).tell(quiet)
    assert received == []


def test_a_failing_channel_neither_raises_nor_shows_its_secret_nor_stops_the_others(
    tmp_path: Path, channel: tuple[str, list[dict[str, str]]], caplog: pytest.LogCaptureFixture
) -> None:
    url, received = channel
    bad = ["json://user:hunter2@127.0.0.1:1/", "no url at all"]
    Notifier(tmp_path / "told", [*bad, url]).tell(NOTICE)
    assert len(received) == 1
    assert "channel 1" in caplog.text
    assert "channel 2" in caplog.text
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("banana_delivery")]
    assert not any("hunter2" in message for message in ours)


def test_a_torn_line_costs_that_line_alone(tmp_path: Path) -> None:
    file = tmp_path / "told"
    second, third = NOTICE.but(key="second", body="two\u2028lines"), NOTICE.but(key="third")
    Notifier(file).tell(NOTICE)
    with file.open("ab") as lines:
        lines.write(
            NOTICE.but(key="torn", title="Blätter").model_dump_json().encode().partition("ä".encode())[0] + b"\xc3"
        )
    assert Notifier(file).tell(second)
    assert Notifier(file).tell(third)
    assert not Notifier(file).tell(second)
    assert Notifier(file).told() == [NOTICE, second, third]
