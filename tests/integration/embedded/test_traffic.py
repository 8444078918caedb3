"""What the local router does with requests that meet trouble, and how it counts them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

import serving
from banana_delivery.policy.model import Colour, Counters, Environment, ImageRef, TrafficSource
from banana_delivery.targets.base import Claim
from tests.contract.local_fixture import LocalFixture
from tests.contract.release_target_contract import bring_up, counters, eventually, moved, wait_until_ready
from tests.integration.embedded.load import Load
from tests.unit.serving.detectors import write_model
from tests.unit.serving.images import encode, noise

PRODUCTION = Environment.PRODUCTION
BLUE, GREEN = Colour.BLUE, Colour.GREEN
USERS, WARM, REQUESTS = 16, 5, 25
"""How many users there are, what each asks before a replica is killed, and in all."""


@pytest.fixture
def claim(local_fixture: LocalFixture) -> Claim:
    return local_fixture.target.claim(PRODUCTION, "run-1")


def pids(fixture: LocalFixture, colour: Colour) -> list[int]:
    return [int(replica.split()[1]) for replica in fixture.replicas(PRODUCTION, colour)]


def gained(fixture: LocalFixture, colour: Colour, before: Counters) -> Counters:
    """What was counted since, without latency."""
    now = counters(fixture.target, colour)
    return Counters(
        requests=now.requests - before.requests,
        failures={name: count - before.failures[name] for name, count in now.failures.items()},
        overloads=now.overloads - before.overloads,
        retries=now.retries - before.retries,
    )


def failures(**counts: int) -> dict[str, int]:
    return {"5xx": 0, "connection": 0, "timeout": 0, "gave_up": 0, **counts}


def serve_blue(fixture: LocalFixture, claim: Claim, replicas: int = 1) -> str:
    bring_up(fixture.target, claim, BLUE, fixture.image("1"), replicas)
    fixture.target.set_weights(claim, {BLUE: 100})
    return fixture.target.url(PRODUCTION)


def test_a_killed_replica_loses_nobody_while_another_one_lives(local_fixture: LocalFixture, claim: Claim) -> None:
    url = serve_blue(local_fixture, claim, replicas=2)
    before = counters(local_fixture.target, BLUE)

    os.kill(pids(local_fixture, BLUE)[0], signal.SIGKILL)
    statuses = [local_fixture.predict(url).status_code for _ in range(20)]

    assert statuses == [200] * 20
    eventually(lambda: gained(local_fixture, BLUE, before).requests == 20)
    assert gained(local_fixture, BLUE, before).failed == 0
    assert gained(local_fixture, BLUE, before).retries > 0
    wait_until_ready(local_fixture.target, PRODUCTION, BLUE)


def real_release(fixture: LocalFixture) -> ImageRef:
    """A release of the serving application itself, with a tiny detector."""
    image = ImageRef(repository="real", digest="sha256:" + "5" * 64, version="7", key="7")
    folder = fixture.releases.unpack(image)
    code = Path(serving.__file__).parent
    shutil.copytree(code, folder / "app" / "serving", ignore=shutil.ignore_patterns("__pycache__"))
    write_model(folder / "model")
    return image


def test_a_killed_replica_takes_only_what_it_had_in_hand_with_it_and_that_is_counted(
    local_fixture: LocalFixture, claim: Claim
) -> None:
    bring_up(local_fixture.target, claim, BLUE, real_release(local_fixture), replicas=2)
    local_fixture.target.set_weights(claim, {BLUE: 100})
    url, photo = local_fixture.target.url(PRODUCTION), {"image": encode(noise(1600, 1200))}
    before, warm = counters(local_fixture.target, BLUE), threading.Barrier(USERS + 1)
    gone = threading.Event()

    def use() -> list[tuple[bool, int]]:
        """What each request of one user got, and whether the replica was gone before it was sent."""
        answers = []
        with httpx.Client(timeout=30.0, trust_env=False) as client:
            for number in range(REQUESTS):
                if number == WARM:
                    warm.wait(60)
                later = gone.is_set()
                answers.append((later, client.post(f"{url}/predict", files=photo).status_code))
        return answers

    with ThreadPoolExecutor(USERS) as pool:
        users = [pool.submit(use) for _ in range(USERS)]
        warm.wait(60)
        # So much work takes longer than that: the replicas have it in hand.
        time.sleep(0.1)
        killed = pids(local_fixture, BLUE)[0]
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: killed not in pids(local_fixture, BLUE))
        gone.set()
        answers = [answer for user in users for answer in user.result()]

    lost = [later for later, status in answers if status != httpx.codes.OK]
    assert {status for _, status in answers} == {httpx.codes.OK, httpx.codes.BAD_GATEWAY}
    assert 0 < len(lost) <= USERS
    assert not any(lost)
    assert sum(later for later, _ in answers) > USERS
    eventually(lambda: gained(local_fixture, BLUE, before).requests == len(answers))
    assert gained(local_fixture, BLUE, before).failures == failures(connection=len(lost))
    assert gained(local_fixture, BLUE, before).overloads == 0
    wait_until_ready(local_fixture.target, PRODUCTION, BLUE)


def test_a_colour_whose_replicas_are_all_gone_is_not_answered_for_by_the_other(
    local_fixture: LocalFixture, claim: Claim
) -> None:
    bring_up(local_fixture.target, claim, GREEN, local_fixture.image("2"))
    url = serve_blue(local_fixture, claim)
    local_fixture.target.set_weights(claim, {BLUE: 50, GREEN: 50})
    before = {colour: counters(local_fixture.target, colour) for colour in (BLUE, GREEN)}
    local_fixture.supervisor.stop(*(item.split()[0] for item in local_fixture.replicas(PRODUCTION, GREEN)), wait=True)

    statuses = [local_fixture.predict(url).status_code for _ in range(6)]

    assert sorted(statuses) == [200] * 3 + [502] * 3
    eventually(lambda: gained(local_fixture, GREEN, before[GREEN]).requests == 3)
    assert gained(local_fixture, GREEN, before[GREEN]).failures == failures(connection=3)
    assert gained(local_fixture, BLUE, before[BLUE]).failures == failures()
    assert local_fixture.target.observed(PRODUCTION).replicas == {BLUE: 1, GREEN: 0}
    assert "was stopped by hand" in local_fixture.target.readiness(PRODUCTION, GREEN).failure


def test_a_request_that_reached_a_replica_is_never_sent_twice(local_fixture: LocalFixture, claim: Claim) -> None:
    url = serve_blue(local_fixture, claim, replicas=2)
    before, replicas = counters(local_fixture.target, BLUE), set(pids(local_fixture, BLUE))

    status = local_fixture.predict(url, **{"X-Test-Die": "yes"}).status_code

    assert status == httpx.codes.BAD_GATEWAY
    eventually(lambda: gained(local_fixture, BLUE, before).failures == failures(connection=1))
    assert len(replicas & set(pids(local_fixture, BLUE))) == 1


def test_slow_answers_and_impatient_clients_are_told_apart(local_fixture: LocalFixture, claim: Claim) -> None:
    url = serve_blue(local_fixture, claim)
    before = counters(local_fixture.target, BLUE)

    def ask(seconds: float, patience: float) -> None:
        try:
            httpx.post(f"{url}/predict", headers={"X-Test-Seconds": str(seconds)}, timeout=patience, trust_env=False)
        except httpx.TimeoutException:
            return

    asked = [threading.Thread(target=ask, args=times) for times in ((6.5, 15.0), (4.0, 0.3), (4.0, 1.6), (0.2, 5.0))]
    for thread in asked:
        thread.start()
    for thread in asked:
        thread.join()

    # The hanging one, the one that gave up after the budget and the one that was answered; not the one that left early.
    eventually(lambda: gained(local_fixture, BLUE, before).requests == 3)
    assert gained(local_fixture, BLUE, before).failures == failures(timeout=1, gave_up=1)


def test_a_client_that_leaves_while_it_uploads_is_nobodys_failure(local_fixture: LocalFixture, claim: Claim) -> None:
    url = httpx.URL(serve_blue(local_fixture, claim))
    before = counters(local_fixture.target, BLUE)

    with socket.create_connection((url.host, url.port)) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: users\r\nContent-Length: 100000\r\n\r\n" + b"x" * 5_000)
        time.sleep(0.2)
    local_fixture.send(PRODUCTION, 1)

    eventually(lambda: gained(local_fixture, BLUE, before).requests == 1)
    assert gained(local_fixture, BLUE, before).failures == failures()


def test_a_replica_that_turns_requests_away_is_overloaded_and_has_not_failed(
    local_fixture: LocalFixture, claim: Claim
) -> None:
    url = serve_blue(local_fixture, claim)
    before = counters(local_fixture.target, BLUE)

    for status in ("503", "503", "415", "200"):
        local_fixture.predict(url, **{"X-Test-Status": status, "X-Test-Retry-After": "1"})

    eventually(lambda: gained(local_fixture, BLUE, before).requests == 4)
    assert gained(local_fixture, BLUE, before).overloads == 2
    assert gained(local_fixture, BLUE, before).failures == failures()


def test_a_replica_that_turns_requests_away_for_good_has_failed(local_fixture: LocalFixture, claim: Claim) -> None:
    url = serve_blue(local_fixture, claim)
    before = counters(local_fixture.target, BLUE)

    assert [local_fixture.predict(url, **{"X-Test-Status": "503"}).status_code for _ in range(2)] == [503, 503]

    eventually(lambda: gained(local_fixture, BLUE, before).requests == 2)
    assert gained(local_fixture, BLUE, before).overloads == 0
    assert gained(local_fixture, BLUE, before).failures == failures(**{"5xx": 2})


def test_latency_sums_never_fall_when_a_replica_restarts(local_fixture: LocalFixture, claim: Claim) -> None:
    serve_blue(local_fixture, claim, replicas=2)
    local_fixture.send(PRODUCTION, 10)
    eventually(lambda: counters(local_fixture.target, BLUE).latency.get("+Inf", 0) == 10)

    os.kill(pids(local_fixture, BLUE)[0], signal.SIGKILL)
    wait_until_ready(local_fixture.target, PRODUCTION, BLUE)

    assert counters(local_fixture.target, BLUE).latency["+Inf"] == 10
    local_fixture.send(PRODUCTION, 4)
    eventually(lambda: counters(local_fixture.target, BLUE).latency["+Inf"] == 14)


def test_a_whole_shift_loses_no_request(local_fixture: LocalFixture, claim: Claim) -> None:
    target = local_fixture.target
    url = serve_blue(local_fixture, claim, replicas=2)

    with Load(url) as load:
        target.deploy(claim, GREEN, local_fixture.image("2"), 1)
        wait_until_ready(target, PRODUCTION, GREEN)
        target.scale(claim, GREEN, 2)
        wait_until_ready(target, PRODUCTION, GREEN)
        for weight in (20, 40, 60, 80, 100):
            target.set_weights(claim, {BLUE: 100 - weight, GREEN: weight})
        target.scale(claim, BLUE, 0)
        eventually(lambda: not local_fixture.replicas(PRODUCTION, BLUE))

    assert load.lost == 0, load.statuses
    assert load.statuses["200"] > 50
    assert counters(target, GREEN, TrafficSource.USER).requests > 0


def test_a_live_colour_grows_and_shrinks_without_losing_a_request(local_fixture: LocalFixture, claim: Claim) -> None:
    target = local_fixture.target
    url = serve_blue(local_fixture, claim)

    with Load(url) as load:
        target.scale(claim, BLUE, 3)
        target.scale(claim, BLUE, 1)
        eventually(lambda: len(local_fixture.replicas(PRODUCTION, BLUE)) == 1)

    assert load.lost == 0, load.statuses


def test_a_replica_that_goes_finishes_what_it_has_accepted(local_fixture: LocalFixture, claim: Claim) -> None:
    url = serve_blue(local_fixture, claim)
    answers: list[httpx.Response] = []
    slow = threading.Thread(target=lambda: answers.append(local_fixture.predict(url, **{"X-Test-Seconds": "2"})))
    slow.start()
    time.sleep(0.3)

    bring_up(local_fixture.target, claim, GREEN, local_fixture.image("2"))
    local_fixture.target.set_weights(claim, {GREEN: 100})
    local_fixture.target.scale(claim, BLUE, 0)
    slow.join()

    assert [answer.status_code for answer in answers] == [200]


def test_weights_can_be_moved_right_after_the_router_was_killed(local_fixture: LocalFixture, claim: Claim) -> None:
    url = serve_blue(local_fixture, claim)
    bring_up(local_fixture.target, claim, GREEN, local_fixture.image("2"))

    os.kill(local_fixture.supervisor.processes()["router"].pid, signal.SIGKILL)
    local_fixture.target.set_weights(claim, {GREEN: 100})

    assert local_fixture.predict(url).headers["X-Colour"] == "green"


def test_a_router_that_is_starting_again_is_not_taken_for_a_hand_edit(
    local_fixture: LocalFixture, claim: Claim
) -> None:
    serve_blue(local_fixture, claim)
    before = moved(local_fixture.target)
    for _ in range(3):
        pid = local_fixture.supervisor.processes()["router"].pid
        os.kill(pid, signal.SIGKILL)
        while local_fixture.supervisor.processes()["router"].pid in {0, pid}:
            assert moved(local_fixture.target) == before
        for _ in range(40):
            assert moved(local_fixture.target) == before
