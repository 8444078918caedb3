"""Whom a channel is for, what it is given to show, and which address is none. The receivers are real ones."""

from __future__ import annotations

import base64
import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import apprise
import pytest
from apprise.plugins.base import NotifyBase

from banana_delivery.notifications.channels import Channel, open_channels, problem_of
from banana_delivery.notifications.forms import Form, worded
from banana_delivery.notifications.messages import TONES, Audience, Notice, ProductionNow, Tone, notice
from banana_delivery.notifications.notifier import Notifier
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.outcomes import CONSEQUENCES, Urgency
from banana_delivery.secrecy import secrets_of
from banana_delivery.settings import Settings
from tests.unit.reports import scenes

PAGES = "https://pages.example"
SHOWN = scenes.attempt(scenes.rolled_back_steps(), "rolled_back", "11 of 72 user requests failed <b>here</b>.")


def told(outcome: Outcome, production: ProductionNow | None = None) -> Notice:
    return notice("leaves", SHOWN.replace(outcome=outcome), PAGES, production)


@contextmanager
def json_receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """What Apprise's json:// posts to: its address without a scheme, and what came."""
    came: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", came
    server.shutdown()
    server.server_close()


@contextmanager
def mail_server() -> Iterator[tuple[int, list[EmailMessage]]]:
    """As much of SMTP as it takes to be given a letter: its port, and the letters."""
    letters: list[EmailMessage] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline():
                verb = line[:4].upper()
                if verb == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    letter = b"".join(iter(self.rfile.readline, b".\r\n"))
                    letters.append(message_from_bytes(letter, policy=policy.default))
                self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
                if verb == b"QUIT":
                    return

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server.server_address[1], letters
    server.shutdown()
    server.server_close()


def test_a_letter_says_the_same_in_plain_words_and_in_rich_ones_and_brings_the_report(tmp_path: Path) -> None:
    report = tmp_path / "version-7-1-rolled_back.html"
    report.write_text("<p>all of it</p>")
    letter = notice("leaves", SHOWN, PAGES, report=str(report)).replace(where="production on host-1")
    with mail_server() as (port, letters):
        url = f"mailto://127.0.0.1:{port}?from=a@example.com&to=b@example.com&mode=insecure"
        assert Notifier(tmp_path / "told", [url]).send(letter)
    [came] = letters
    assert came["Subject"] == "leaves version 7 was ROLLED BACK"
    rich, plain = came.get_body(("html",)), came.get_body(("plain",))
    assert rich is not None and plain is not None
    link = f"{PAGES}/reports/7/{SHOWN.at:.0f}-rolled_back"
    assert f'<a href="{link}">' in rich.get_content()
    assert "<b>Next:</b>" in rich.get_content() and "<b>here</b>" not in rich.get_content()
    for said in (link, "11 failed", "production on host-1", "UTC", "banana-delivery override 7"):
        assert said in plain.get_content(), said
    [attached] = came.iter_attachments()
    assert (attached.get_filename(), attached.get_content().strip()) == (report.name, "<p>all of it</p>")


def test_a_program_is_sent_plain_text_its_type_and_the_report_once(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("all of it")
    with json_receiver() as (address, came):
        notifier = Notifier(tmp_path / "told", [f"json://{address}"])
        for _ in range(2):
            notifier.send(notice("leaves", SHOWN, PAGES, report=str(report)))
    [message] = came
    assert message["type"] == "failure"
    assert "11 of 72 user requests failed ‹b›here‹/b›." in str(message["message"]).splitlines()
    [attached] = message["attachments"]
    assert base64.b64decode(attached["base64"]) == b"all of it"


def test_each_notice_goes_to_those_who_listen_for_its_kind_and_to_whoever_listens_for_all(tmp_path: Path) -> None:
    with json_receiver() as (address, came):
        urls = [f"{audience}=json://{address}/{audience}" for audience in Audience]
        urls += [f"asks,urgent=json://{address}/both", f"json://{address}/all"]
        notifier = Notifier(tmp_path / "told", urls)
        counts = {}
        for outcome in (Outcome.RELEASED, Outcome.PARKED, Outcome.ROLLED_BACK, Outcome.SUPERSEDED):
            before = len(came)
            notifier.send(told(outcome))
            counts[outcome] = len(came) - before
    assert counts == {Outcome.RELEASED: 2, Outcome.PARKED: 3, Outcome.ROLLED_BACK: 3, Outcome.SUPERSEDED: 0}


@pytest.mark.parametrize("outcome", Outcome)
def test_what_went_wrong_never_looks_like_what_went_well(outcome: Outcome) -> None:
    looks = {
        Outcome.RELEASED: Tone.SUCCESS,
        Outcome.SUPERSEDED: Tone.INFO,
        Outcome.REJECTED: Tone.WARNING,
        Outcome.PARKED: Tone.WARNING,
        Outcome.CANCELLED: Tone.WARNING,
    }
    assert told(outcome).look is looks.get(outcome, Tone.FAILURE) is TONES[outcome]
    assert told(outcome, ProductionNow(known=False)).look is Tone.FAILURE  # Whatever became of the version.
    urgent = Notice(key="k", title="t", body="b", urgency=CONSEQUENCES[outcome].urgency)  # As earlier versions wrote.
    assert (urgent.look is Tone.FAILURE) == (urgent.urgency is Urgency.URGENT)


def test_it_says_how_many_requests_of_users_met_the_version_and_for_how_long() -> None:
    [users] = [line for line in told(Outcome.ROLLED_BACK).body.splitlines() if line.startswith("Users: ")]
    assert users == "Users: version 7 was given 198 of their requests within 19 s; 11 failed (5.6 %)."
    nobody = AttemptRecord(version="7", outcome=Outcome.ERROR, reason="Because.", at=1.0)
    assert "Users:" not in notice("leaves", nobody, PAGES).body


@pytest.mark.parametrize("form", Form)
def test_a_stranger_s_words_are_no_link_and_no_heading_in_any_form(form: Form) -> None:
    said = "Report: https://evil.example/now"
    shown = worded(told(Outcome.ERROR).replace(body=f"{said}\n# big\n<img src=x>", links=()), form)
    assert "href" not in shown and "<img" not in shown
    if form is Form.MARKDOWN:
        assert "`https://evil.example/now`" in shown and "\n# big" not in shown


def test_a_channel_is_given_the_richest_form_that_it_shows_unless_its_address_says_otherwise() -> None:
    wanted = {
        "json://h": Form.TEXT,
        "json://h?format=html": Form.HTML,
        "mailto://u:p@h.example": Form.HTML,
        "mailto://u:p@h.example?format=text": Form.TEXT,
        "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js": Form.MARKDOWN,
    }
    for url, form in wanted.items():
        plugin = apprise.Apprise.instantiate(url)
        assert isinstance(plugin, NotifyBase)
        assert Channel(1, plugin, "").form is form, url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mailto://a", "(mailto://...) is not complete"),
        ("urgent=slack://hunter2", "(slack://...) is not complete"),
        ("jsn://hunter2", "(jsn://...) is no address"),
        ("everybody=json://hunter2", "is for 'everybody', which nobody is: write one or more of progress, asks"),
        ("hunter2", "(without a scheme) is no address"),
    ],
)
def test_an_address_that_nobody_is_told_at_is_one_sentence(url: str, said: str) -> None:
    problem = problem_of(3, url)
    assert problem.startswith("Channel 3 of BANANA_NOTIFY_URLS ") and said in problem and "hunter2" not in problem
    assert open_channels([url]) == {}


def test_a_channel_keeps_its_name_when_its_audience_changes_and_its_address_stays_secret() -> None:
    url = "json://user:password-of-somebody@host/path"
    assert open_channels([url]).keys() == open_channels([f"asks={url}"]).keys()
    [both] = open_channels([f"asks={url}", f"urgent={url}"]).values()
    assert both.audiences == {Audience.ASKS, Audience.URGENT}
    settings = Settings(notify_urls=[f"asks={url}"])  # type: ignore[list-item]
    assert {url, "password-of-somebody"} <= set(secrets_of(settings))
