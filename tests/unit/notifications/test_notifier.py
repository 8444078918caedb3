from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from banana_delivery.notifications.messages import Notice, notice
from banana_delivery.notifications.notifier import Notifier
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.outcomes import Urgency

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


@dataclass
class Channel:
    """A real HTTP endpoint that Apprise's json:// channel posts to.

    Attributes:
        url: for Apprise.
        received: the titles that it took.
        up: whether it takes anything.
        refused: a title that it never takes.
        seconds: how long it thinks.
    """

    url: str = ""
    received: list[str] = field(default_factory=list)
    up: bool = True
    refused: str = ""
    seconds: float = 0.0


@contextmanager
def open_channel() -> Iterator[Channel]:
    channel = Channel()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(channel.seconds)
            takes = channel.up and message["title"] != channel.refused
            if takes:
                channel.received.append(message["title"])
            self.send_response(200 if takes else 503)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    channel.url = f"json://127.0.0.1:{server.server_port}"
    yield channel
    server.shutdown()
    server.server_close()


@pytest.fixture
def channel() -> Iterator[Channel]:
    with open_channel() as opened:
        yield opened


@pytest.fixture
def other() -> Iterator[Channel]:
    with open_channel() as opened:
        yield opened


def test_the_message_says_what_why_and_what_to_type() -> None:
    assert NOTICE.title == "leaves version 7 was ROLLED BACK"
    assert ATTEMPT.reason in NOTICE.body
    assert "banana-delivery override 7" in NOTICE.body
    assert "/runs/run-1" in NOTICE.body
    assert "Production serves version 6" in NOTICE.body


def test_an_event_is_told_once_even_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "notifications.jsonl"
    assert Notifier(file).send(NOTICE)
    assert not Notifier(file).send(NOTICE)
    assert Notifier(file).sent() == [NOTICE]


def test_a_channel_gets_the_message(tmp_path: Path, channel: Channel) -> None:
    Notifier(tmp_path / "told", [channel.url]).send(NOTICE)
    assert channel.received == [NOTICE.title]


def test_a_quiet_notice_goes_to_the_file_alone(tmp_path: Path, channel: Channel) -> None:
    quiet = Notice(key="k", title="t", body="b", urgency=Urgency.QUIET)
    assert Notifier(tmp_path / "told", [channel.url]).send(quiet)
    assert channel.received == []


def test_a_failing_channel_neither_raises_nor_shows_its_secret_nor_stops_the_others(
    tmp_path: Path, channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    bad = ["json://user:hunter2@127.0.0.1:1/", "no url at all"]
    Notifier(tmp_path / "told", [*bad, channel.url]).send(NOTICE)
    assert channel.received == [NOTICE.title]
    assert "channel 1" in caplog.text
    assert "channel 2" in caplog.text
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("banana_delivery")]
    assert not any("hunter2" in message for message in ours)
    assert not any("hunter2" in file.read_text() for file in tmp_path.iterdir())


def test_a_channel_that_was_down_gets_the_message_when_it_is_told_again_and_the_others_get_it_once(
    tmp_path: Path, channel: Channel, other: Channel
) -> None:
    urls = [channel.url, other.url]
    channel.up = False
    assert Notifier(tmp_path / "told", urls).send(NOTICE)
    channel.up = True
    for _ in range(2):
        assert not Notifier(tmp_path / "told", urls).send(NOTICE)
    assert (channel.received, other.received) == ([NOTICE.title], [NOTICE.title])


def test_what_nobody_tells_again_is_caught_up_with_ever_less_often(tmp_path: Path, channel: Channel) -> None:
    now = [1_700_000_000.0]
    notifier = Notifier(tmp_path / "told", [channel.url], clock=lambda: now[0])
    channel.up = False
    notifier.send(NOTICE)
    now[0] += 30
    notifier.catch_up()
    channel.up = True
    now[0] += 30
    notifier.catch_up()
    assert channel.received == []
    now[0] += 30
    for _ in range(2):
        notifier.catch_up()
    assert channel.received == [NOTICE.title]


def test_a_message_that_a_channel_never_takes_does_not_hold_up_the_next_one(tmp_path: Path, channel: Channel) -> None:
    channel.refused = "first"
    for title in ("first", "second"):
        Notifier(tmp_path / "told", [channel.url]).send(NOTICE.replace(key=title, title=title))
    assert channel.received == ["second"]


def test_a_channel_that_is_added_later_gets_nothing_old_and_one_that_is_removed_is_owed_nothing(
    tmp_path: Path, channel: Channel, other: Channel
) -> None:
    channel.up = False
    Notifier(tmp_path / "told", [channel.url]).send(NOTICE)
    Notifier(tmp_path / "told", [other.url]).send(NOTICE)
    channel.up = True
    Notifier(tmp_path / "told", [channel.url, other.url]).send(NOTICE)
    assert (channel.received, other.received) == ([], [])


def test_two_processes_that_tell_the_same_at_once_send_it_once(tmp_path: Path, channel: Channel) -> None:
    channel.seconds = 0.3
    tellers = [
        threading.Thread(target=Notifier(tmp_path / "told", [channel.url]).send, args=(NOTICE,)) for _ in range(3)
    ]
    for teller in tellers:
        teller.start()
    for teller in tellers:
        teller.join()
    assert channel.received == [NOTICE.title]


def test_a_torn_line_costs_that_line_alone(tmp_path: Path) -> None:
    file = tmp_path / "told"
    second, third = NOTICE.replace(key="second", body="two\u2028lines"), NOTICE.replace(key="third")
    Notifier(file).send(NOTICE)
    with file.open("ab") as lines:
        lines.write(
            NOTICE.replace(key="torn", title="Blätter").model_dump_json().encode().partition("ä".encode())[0] + b"\xc3"
        )
    assert Notifier(file).send(second)
    assert Notifier(file).send(third)
    assert not Notifier(file).send(second)
    assert Notifier(file).sent() == [NOTICE, second, third]


def test_an_outbox_that_cannot_be_read_stops_nobody(tmp_path: Path, channel: Channel) -> None:
    (tmp_path / "told.outbox.json").write_bytes(b"{")
    Notifier(tmp_path / "told", [channel.url]).send(NOTICE)
    assert channel.received == [NOTICE.title]
