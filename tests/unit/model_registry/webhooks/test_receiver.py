"""What makes the receiver ring, and what a stranger, a repetition and a flood do to it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import uvicorn

from banana_delivery.errors import WebhookRefusedError
from banana_delivery.model_registry.webhooks import deliveries, receiver
from banana_delivery.model_registry.webhooks.bell import ReceiverBell
from banana_delivery.model_registry.webhooks.deliveries import EVENTS, SIGNATURE, WINDOW_SECONDS, Delivery, Memory, News
from banana_delivery.model_registry.webhooks.receiver import (
    AT_ONCE,
    MOST_BYTES,
    Allowance,
    BoundedProtocol,
    Receiver,
    Rings,
    receiver_app,
)
from banana_delivery.model_registry.webhooks.secret import listening_token
from tests.support.clock import HandClock
from tests.unit.model_registry.webhooks.conftest import MLFLOWS_TIME, MODEL, SECRET, Sender, event


@pytest.mark.parametrize("kind", EVENTS)
def test_a_signed_event_about_our_model_rings(sender: Sender, kind: str) -> None:
    assert sender.send(event(kind, version="7")) == (200, True)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (event(name="another model"), "another model's"),
        (event(name="Bananas"), "nor one that is written otherwise"),
        (event("model_version.created"), "what cannot stage anything"),
        (event("registered_model.created"), "what is of no version"),
        (event("webhook.ping"), "a ping"),
        (event("prompt_alias.created"), "a prompt that is called as our model is"),
    ],
)
def test_what_is_none_of_ours_is_taken_and_does_not_ring(sender: Sender, said: bytes, why: str) -> None:
    assert sender.send(said) == (200, False), why


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"7", b"null", b'"text"', b'{"entity": "model_version_tag"}', b"\xff\xfe", b"[" * 100_000],
    ids=["nothing", "half", "list", "number", "null", "text", "no data", "no UTF-8", "depth"],
)
def test_what_is_no_event_is_refused_though_it_is_signed(sender: Sender, body: bytes) -> None:
    assert sender.send(body) == (400, False)


@pytest.mark.parametrize(
    "odd",
    [
        {"secret": "another secret of some length"},
        {"secret": ""},
        {SIGNATURE: ""},
        {SIGNATURE: "v1,"},
        {SIGNATURE: "v2,abc"},
        {"timestamp": "now"},
        {"timestamp": "-5"},
        {"timestamp": "9" * 400},
        {"delivery_id": "x"},
        {"delivery_id": "x" * 101},
        {"delivery_id": "no/../id"},
    ],
    ids=str,
)
def test_a_stranger_rings_nothing(sender: Sender, odd: dict[str, str]) -> None:
    assert sender.send(**odd) == (401, False)  # type: ignore[arg-type]
    assert sender.send() == (200, True), "nothing of it is remembered"


def test_a_signature_is_for_one_body_and_one_time(sender: Sender) -> None:
    body = event()
    signature = deliveries.sign(SECRET, "the-delivery", str(MLFLOWS_TIME), body)
    altered = {SIGNATURE: signature, "delivery_id": "the-delivery"}
    assert sender.send(event(version="8"), **altered) == (401, False)
    assert sender.send(body, timestamp=MLFLOWS_TIME + 1, **altered) == (401, False)
    assert sender.send(body, **altered) == (200, True)


def test_a_header_that_is_there_twice_is_no_header(sender: Sender) -> None:
    body, when = event(), str(MLFLOWS_TIME)
    signature = deliveries.sign(SECRET, "the-delivery", when, body)
    names = [(SIGNATURE, signature), (deliveries.TIMESTAMP, when), (deliveries.DELIVERY_ID, "the-delivery")]
    for name, value in names:
        answer = sender.client.post("/mlflow", content=body, headers=[*names, (name, value)])
        assert answer.status_code == 401
    assert sender.client.post("/mlflow", content=body, headers=names).json() == {"said": "It rang."}


def test_the_same_delivery_again_is_well_and_rings_no_second_time(sender: Sender) -> None:
    assert sender.send(delivery_id="the-delivery") == (200, True)
    assert sender.send(delivery_id="the-delivery") == (200, False), "its answer was lost, so MLflow tried again"
    sender.clock.now += 10 * WINDOW_SECONDS
    assert sender.send(delivery_id="the-delivery") == (200, False)


def test_a_late_delivery_is_refused_by_the_senders_own_time(sender: Sender, caplog: pytest.LogCaptureFixture) -> None:
    assert sender.send(timestamp=MLFLOWS_TIME) == (200, True), "whatever any clock here says"
    late = MLFLOWS_TIME - int(WINDOW_SECONDS) - 1
    with caplog.at_level(logging.WARNING):
        assert sender.send(timestamp=late) == (409, False)
    assert "clock was set back" in caplog.text
    assert sender.send(timestamp=late + 1) == (200, True), "MLflow tried for a while"


def test_a_delivery_that_was_held_back_is_late_though_none_came_since(sender: Sender) -> None:
    sender.send(timestamp=MLFLOWS_TIME)
    sender.clock.now += WINDOW_SECONDS + 5
    assert sender.send(timestamp=MLFLOWS_TIME + 1) == (409, False)
    assert sender.send(timestamp=MLFLOWS_TIME + 6) == (200, True)


def test_what_is_forgotten_for_want_of_room_counts_no_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "MOST_IDS", 3)
    memory = Memory()
    judged = [memory.judge(Delivery(f"delivery-{number}", MLFLOWS_TIME + number, b""), 0.0) for number in range(10)]
    assert judged == [News.NEW] * 10
    again = [memory.judge(Delivery(f"delivery-{number}", MLFLOWS_TIME + number, b""), 0.0) for number in range(10)]
    assert again == [News.OLD] * 7 + [News.SEEN] * 3
    assert len(memory._times) == 3


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_not_taken(sender: Sender, announced: bool) -> None:
    body = event(value="x" * MOST_BYTES)

    def pieces() -> Iterator[bytes]:
        yield from (body[start : start + 10_000] for start in range(0, len(body), 10_000))

    answer = sender.client.post("/mlflow", content=body if announced else pieces())
    assert answer.status_code == 413
    assert "huge" not in answer.text
    assert sender.send(event(value="x" * (MOST_BYTES - 1000))) == (200, True)


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "many"])
def test_a_length_that_is_none_is_refused(sender: Sender, length: str) -> None:
    answer = sender.client.post("/mlflow", content=event(), headers={"Content-Length": length})
    assert answer.status_code == 413


def test_a_flood_is_sent_away_until_there_is_room_again(sender: Sender) -> None:
    answered = [sender.send(b"")[0] for _ in range(int(AT_ONCE) + 3)]
    assert answered == [400] * int(AT_ONCE) + [429] * 3
    sender.clock.now += 1.0
    assert sender.send() == (200, True)


def test_what_is_allowed_after_a_long_silence_is_bounded() -> None:
    allowance = Allowance(clock := HandClock())
    allowance.take()
    clock.now += 1e9
    for _ in range(int(AT_ONCE)):
        allowance.take()
    with pytest.raises(WebhookRefusedError):
        allowance.take()


@pytest.mark.parametrize(("method", "path"), [("GET", "/mlflow"), ("POST", "/rings"), ("GET", "/"), ("GET", "/docs")])
def test_there_is_nothing_else_to_ask(sender: Sender, method: str, path: str) -> None:
    assert sender.client.request(method, path).status_code in {404, 405}


def test_only_whoever_has_the_secret_may_listen(sender: Sender) -> None:
    def listen(token: str) -> int:
        shown = {b"Authorization": f"Bearer {token}".encode("latin-1")}
        return sender.client.get("/rings", headers=shown).status_code

    assert [listen(""), listen(SECRET), listen("\xe9"), listen(listening_token("another"))] == [401] * 4
    assert listen(listening_token(SECRET)) == 200


def test_not_everybody_may_listen_at_once(sender: Sender) -> None:
    sender.receiver.rings.listeners = receiver.MOST_LISTENERS
    answer = sender.client.get("/rings", headers={"Authorization": f"Bearer {listening_token(SECRET)}"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize("seconds", ["nan", "-1", "inf", "soon", ""])
def test_a_time_that_is_none_keeps_nobody(sender: Sender, seconds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "LISTENING_SECONDS", 0.01)
    asked = {"seconds": seconds, "heard": sender.receiver.rings.heard}
    answer = sender.client.get("/rings", params=asked, headers={"Authorization": f"Bearer {listening_token(SECRET)}"})
    assert answer.json() == {"heard": sender.receiver.rings.heard}
    assert sender.receiver.rings.listeners == 0


def test_whoever_waits_is_woken_by_the_next_ring_and_whoever_missed_one_does_not_wait() -> None:
    async def play() -> None:
        rings = Rings()
        before = rings.heard
        waiting = [asyncio.create_task(rings.wait(before, 30.0)) for _ in range(2)]
        await asyncio.sleep(0)
        rings.ring()
        assert await asyncio.gather(*waiting) == [rings.heard] * 2
        assert await rings.wait(before, 30.0) == rings.heard != before
        assert await rings.wait(Rings().heard, 30.0) == rings.heard, "of a receiver before this one"
        assert rings.listeners == 0

    asyncio.run(play())


@contextmanager
def served() -> Iterator[str]:
    """A receiver on a port, as its process serves it."""
    app = receiver_app(Receiver(MODEL, SECRET))
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=BoundedProtocol, ws="none", log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        threading.Event().wait(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


def test_the_sensor_hears_the_receiver_and_notices_when_it_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    with served() as url:
        bell = ReceiverBell(url, lambda: SECRET)
        heard = bell.heard()
        assert heard is not None
        assert bell.wait(heard, 0.01) is None
        timestamp, body = str(MLFLOWS_TIME), event()
        signed = {SIGNATURE: deliveries.sign(SECRET, "the-delivery", timestamp, body)}
        signed |= {deliveries.TIMESTAMP: timestamp, deliveries.DELIVERY_ID: "the-delivery"}
        answer = httpx.post(f"{url}/mlflow", content=body, headers=signed, trust_env=False)
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert bell.wait(heard, 30.0) not in {None, heard}
        assert ReceiverBell(url, lambda: "another secret").heard() is None
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert [bell.heard(), bell.wait(heard, 30.0)] == [None, None]
    assert caplog.text.count("cannot be heard of") == 1
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "sent", [b"", b"POST /mlflow HTTP/1.1\r\nX: ", b"POST /mlflow HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"]
)
def test_no_connection_lasts_whatever_is_sent_on_it(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(receiver, "CONNECTION_SECONDS", 0.05)

    async def play(url: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        writer.write(sent)
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    with served() as url:
        assert asyncio.run(asyncio.wait_for(play(url), 30)) == b""


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "BODY_SECONDS", 0.05)

    async def play(url: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        writer.write(b"POST /mlflow HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc")
        try:
            return await reader.readline()
        finally:
            writer.close()

    with served() as url:
        assert asyncio.run(asyncio.wait_for(play(url), 30)) == b"HTTP/1.1 408 Request Timeout\r\n"
