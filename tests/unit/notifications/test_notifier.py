from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from banana_delivery.notifications import notifier as module
from banana_delivery.notifications.channels import ANSWER_SECONDS
from banana_delivery.notifications.messages import Notice, notice
from banana_delivery.notifications.notifier import Notifier
from banana_delivery.notifications.outbox import MOST_REFUSALS, Outbox
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
        arrived: the titles that came, whether it took them or not, before it thinks.
    """

    url: str = ""
    received: list[str] = field(default_factory=list)
    up: bool = True
    refused: str = ""
    seconds: float = 0.0
    arrived: list[str] = field(default_factory=list)


@contextmanager
def open_channel() -> Iterator[Channel]:
    channel = Channel()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            channel.arrived.append(message["title"])
            time.sleep(channel.seconds)
            takes = channel.up and message["title"] != channel.refused
            if takes:
                channel.received.append(message["title"])
            with suppress(OSError):  # Nobody may be there any more to hear it.
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


NORMAL = NOTICE.replace(key="normal", title="normal", urgency=Urgency.NORMAL)
DAY = 24 * 3600.0


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("It did not happen within 30 s.")


def days_pass(notifier: Notifier, now: list[float], days: int = 6) -> None:
    """Look every ten minutes, as the sensor does more often."""
    for _ in range(days * 24 * 6):
        now[0] += 600
        notifier.catch_up()


@pytest.mark.parametrize("told", [NOTICE, NORMAL], ids=["urgent", "normal"])
def test_a_channel_that_is_slower_than_anybody_waits_gets_it_once(
    tmp_path: Path, channel: Channel, monkeypatch: pytest.MonkeyPatch, told: Notice
) -> None:
    monkeypatch.setattr(module, "CHANNEL_SECONDS", 0.1)
    channel.seconds = 0.5
    now = [1_700_000_000.0]
    notifier = Notifier(tmp_path / "told", [channel.url], clock=lambda: now[0])
    assert notifier.send(told)
    assert channel.received == []
    wait_until(lambda: Outbox(tmp_path / "told.outbox.json").waiting().owed == ())
    days_pass(notifier, now, days=1)
    assert channel.received == [told.title]


def test_apprise_waits_longer_for_an_answer_than_its_own_four_seconds_unless_the_address_says_otherwise() -> None:
    channels = Notifier(Path("unused"), ["json://127.0.0.1:1/a", "json://127.0.0.1:1/b?rto=3"])._channels
    assert [one.plugin.socket_read_timeout for one in channels.values()] == [ANSWER_SECONDS, 3.0]


@pytest.mark.parametrize(
    ("urgency", "arrives"),
    [
        (Urgency.URGENT, ["t", "Again: t", "Again: t"]),
        (Urgency.ASKS, ["t", "Again: t"]),
        (Urgency.NORMAL, ["t"]),
    ],
)
def test_what_was_never_answered_is_sent_again_a_few_times_at_most(
    tmp_path: Path, channel: Channel, urgency: Urgency, arrives: list[str]
) -> None:
    channel.seconds = 0.5
    now = [1_700_000_000.0]
    notifier = Notifier(tmp_path / "told", [f"{channel.url}?rto=0.1"], clock=lambda: now[0])
    notifier.send(Notice(key="k", title="t", body="b", urgency=urgency))
    days_pass(notifier, now)
    assert channel.arrived == arrives
    assert Outbox(tmp_path / "told.outbox.json").waiting().is_due(now[0]) is False


def test_an_unanswered_notice_does_not_go_out_again_with_the_next_one(tmp_path: Path, channel: Channel) -> None:
    channel.seconds = 0.3
    notifier = Notifier(tmp_path / "told", [f"{channel.url}?rto=0.1"])
    for title in ("first", "second", "third"):
        notifier.send(NOTICE.replace(key=title, title=title))
    assert channel.arrived == ["first", "second", "third"]


def test_a_channel_that_answers_with_an_error_is_asked_a_bounded_number_of_times(
    tmp_path: Path, channel: Channel
) -> None:
    channel.up = False
    now = [1_700_000_000.0]
    notifier = Notifier(tmp_path / "told", [channel.url], clock=lambda: now[0])
    notifier.send(NOTICE)
    days_pass(notifier, now)
    assert len(channel.arrived) == MOST_REFUSALS


def test_a_channel_that_hangs_holds_up_neither_the_others_nor_the_caller(
    tmp_path: Path, channel: Channel, other: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHANNEL_SECONDS", 0.5)
    channel.seconds = 5
    teller = threading.Thread(target=Notifier(tmp_path / "told", [channel.url, other.url]).send, args=(NOTICE,))
    teller.start()
    wait_until(lambda: not teller.is_alive())
    assert channel.received == []  # The caller came back while it still hung.
    assert other.received == [NOTICE.title]


@pytest.mark.parametrize(("told", "again"), [(NOTICE, [f"Again: {NOTICE.title}"]), (NORMAL, [])], ids=["urgent", "not"])
def test_whoever_is_killed_while_a_channel_thinks_leaves_no_notice_that_is_sent_for_ever(
    tmp_path: Path, channel: Channel, told: Notice, again: list[str]
) -> None:
    channel.seconds = 2.0
    program = (
        "import sys; from pathlib import Path; from banana_delivery.notifications.notifier import Notifier; "
        "from banana_delivery.notifications.messages import Notice; "
        "Notifier(Path(sys.argv[1]), [sys.argv[2]]).send(Notice.read_json(sys.argv[3]))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "told"), channel.url, told.model_dump_json()]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    wait_until(lambda: channel.arrived == [told.title])
    process.send_signal(signal.SIGKILL)
    process.wait()
    channel.seconds = 0.0
    now = [time.time()]
    notifier = Notifier(tmp_path / "told", [channel.url], clock=lambda: now[0])
    assert not notifier.send(told)  # Whoever was killed had written down that people are told.
    days_pass(notifier, now, days=1)
    assert channel.arrived == [told.title, *again]


def test_whoever_is_killed_before_it_is_written_down_that_people_were_told_does_not_tell_them_twice(
    tmp_path: Path, channel: Channel
) -> None:
    notifier = Notifier(tmp_path / "told", [channel.url])
    Outbox(tmp_path / "told.outbox.json").add(NOTICE, notifier._channels)
    notifier.catch_up()
    assert notifier.send(NOTICE)
    assert channel.received == [NOTICE.title]


def test_an_outbox_of_an_earlier_version_is_sent(tmp_path: Path, channel: Channel) -> None:
    notifier = Notifier(tmp_path / "told", [channel.url])
    [name] = notifier._channels
    owed = {"notice": json.loads(NOTICE.model_dump_json()), "channels": [name]}
    (tmp_path / "told.outbox.json").write_text(json.dumps({"owed": [owed], "failures": 3, "tried_at": 9e9}))
    notifier.catch_up()
    assert channel.received == [NOTICE.title]


def test_a_clock_that_goes_back_makes_nothing_wait(tmp_path: Path, channel: Channel) -> None:
    channel.up = False
    now = [1_700_000_000.0]
    notifier = Notifier(tmp_path / "told", [channel.url], clock=lambda: now[0])
    notifier.send(NOTICE)
    channel.up = True
    now[0] -= 30 * DAY
    notifier.catch_up()
    assert channel.received == [NOTICE.title]


def test_an_address_that_cannot_be_used_is_one_sentence_without_its_secret(channel: Channel) -> None:
    notifier = Notifier(Path("unused"), [channel.url, "jsn://user:hunter2@host", "hunter2 alone", channel.url])
    first, second = notifier.problems()
    assert first.startswith("Channel 2 of BANANA_NOTIFY_URLS (jsn://...) is no address")
    assert second.startswith("Channel 3 of BANANA_NOTIFY_URLS (without a scheme)")
    assert "hunter2" not in first + second


def test_what_a_full_disk_does_not_take_is_told_all_the_same_and_once(
    tmp_path: Path, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    teller = Notifier(tmp_path / "told", [channel.url])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("banana_delivery.files.os.fsync", full)
        for _ in range(2):
            with pytest.raises(OSError, match="No space"):
                teller.send(NOTICE)
    assert channel.received == [NOTICE.title]
    assert teller.sent() == []


def test_a_channel_gets_no_call_to_everybody_and_no_link_of_a_stranger(tmp_path: Path, channel: Channel) -> None:
    strange = NOTICE.replace(key="strange", title="@everyone\x1b[2J [free](https://evil.example)\u202e")
    Notifier(tmp_path / "told", [channel.url]).send(strange)
    assert channel.received == ["@ everyone\\x1b[2J [free] (https://evil.example)\\u202e"]


def test_a_trial_asks_each_channel_again_and_again_and_keeps_nothing(tmp_path: Path) -> None:
    with open_channel() as well, open_channel() as sick:
        sick.up = False
        notifier = Notifier(tmp_path / "notifications.jsonl", [well.url, sick.url, "nonsense"])
        for _ in range(2):
            said = list(notifier.try_channels(NOTICE))
            assert [taken for _, taken in said] == [False, True, False]
            assert all(f"Channel {number} of" in one for number, (one, _) in zip((3, 1, 2), said, strict=True))
        assert len(well.received) == 2
        assert notifier.sent() == []
