"""The rules that the pipeline writes into HTTPRoutes."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banana_delivery.errors import TargetError
from banana_delivery.names import URL_KEY
from banana_delivery.policy.model import Colour, Environment
from banana_delivery.targets.kubernetes import gateway
from banana_delivery.targets.kubernetes.api import KubernetesApi
from banana_delivery.targets.kubernetes.gateway import (
    GatewayRouting,
    confirmations,
    key_in,
    probe_rules,
    token_in,
    user_rules,
    weights_in,
)
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace

PLACE = EnvironmentNamespace(Environment.PRODUCTION, "production")


def route(rules: list[Any]) -> dict[str, Any]:
    return {"spec": {"rules": rules}}


@given(st.integers(0, 100))
def test_the_weights_that_are_written_are_the_weights_that_are_read(percent: int) -> None:
    weights = {Colour.BLUE: 100 - percent, Colour.GREEN: percent}

    assert weights_in(route(user_rules(weights, "k", "t", 10, PLACE))) == weights


def test_a_route_without_rules_gives_nobody_any_traffic() -> None:
    assert weights_in({"spec": {}}) == {Colour.BLUE: 0, Colour.GREEN: 0}
    assert token_in({"spec": {}}) == key_in({"spec": {}}) == ""


def test_weights_somebody_wrote_by_hand_are_read_as_they_are() -> None:
    by_hand = [{"backendRefs": [{"name": "banana-api-blue"}, {"name": "banana-api-green", "weight": 3}]}]

    assert weights_in(route(by_hand)) == {Colour.BLUE: 1, Colour.GREEN: 3}


def test_the_name_of_a_change_comes_back_from_the_route_that_carries_it() -> None:
    rules = user_rules({Colour.BLUE: 100}, "k", "blue100-0f3a", 10, PLACE)

    assert token_in(route(rules)) == "blue100-0f3a"
    assert key_in(route(probe_rules("s3cret", PLACE))) == "s3cret"


def test_both_kinds_of_traffic_are_named_by_the_router_whatever_the_client_says() -> None:
    said = [
        rule["filters"][0]["requestHeaderModifier"]["set"]
        for rule in (user_rules({}, "k", "t", 10, PLACE)[0], *probe_rules("k", PLACE))
    ]

    assert said == [[{"name": "X-Banana-Traffic", "value": value}] for value in ("user", "probe", "probe")]


@pytest.mark.parametrize(("seconds", "written"), [(2.5, {"request": "2500ms"}), (0, None)])
def test_a_hanging_replica_is_given_up_by_the_router_if_a_timeout_is_set(seconds: float, written: object) -> None:
    assert user_rules({}, "k", "t", seconds, PLACE)[0].get("timeouts") == written


@given(st.integers(1, 50))
def test_a_straggler_among_the_routers_is_overlooked_in_one_change_of_a_thousand_at_most(routers: int) -> None:
    asked = confirmations(routers)

    assert (1 - 1 / routers) ** asked <= 0.001
    assert asked == 3 or (1 - 1 / routers) ** (asked - 1) > 0.001


@dataclass
class Routers:
    """Routers behind one address, which gives each connection to the next one of a shuffled round.

    Attributes:
        url: where they are.
        old: what a router says that has not followed.
        new: what one says that has.
        late: how often each router is still asked before it follows, by its number; for ever if it is not positive.
        connections: what came over each connection, in order.
    """

    url: str = ""
    old: str = "blue100-0000"
    new: str = "green100-1111"
    late: dict[int, int] = field(default_factory=dict)
    connections: list[int] = field(default_factory=list)

    def say(self, router: int) -> str:
        left = self.late.get(router, 0)
        if left > 1:
            self.late[router] = left - 1
        elif left == 1:
            del self.late[router]
        return self.old if left else self.new


COUNT = 5


@pytest.fixture
def routers() -> Iterator[Routers]:
    here, chance = Routers(), random.Random(7)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # Connections are kept, if the client lets them be.

        def setup(self) -> None:
            super().setup()
            self.router, self.number = chance.randrange(COUNT), len(here.connections)
            here.connections.append(0)

        def do_GET(self) -> None:
            here.connections[self.number] += 1
            self.send_response_only(302)
            self.send_header("Location", f"http://{here.say(self.router)}.invalid/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """What was asked is in ``connections``."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        here.url = f"http://127.0.0.1:{server.server_port}"
        yield here
        server.shutdown()


def wait(routers: Routers) -> None:
    routing = GatewayRouting(KubernetesApi(), PLACE, 10.0, COUNT)
    carrier = {"metadata": {"annotations": {URL_KEY: routers.url}}, "spec": {}}
    routing.wait_applied(carrier, {"key": "k", "token": routers.new})


def test_a_change_is_confirmed_over_as_many_connections_as_it_takes_to_meet_every_router(routers: Routers) -> None:
    wait(routers)

    assert routers.connections == [1] * confirmations(COUNT)


def test_one_straggler_of_five_routers_is_waited_for_and_counting_begins_anew_after_it(routers: Routers) -> None:
    routers.late = {3: 6}

    wait(routers)

    assert not routers.late
    assert len(routers.connections) > confirmations(COUNT)


def test_a_router_that_never_follows_is_named_with_what_it_said(
    routers: Routers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "SETTLE_SECONDS", 0.5)
    routers.late = {3: -1}

    with pytest.raises(TargetError, match=r"it said 'blue100-0000\.invalid'"):
        wait(routers)


def test_the_routers_are_asked_directly_whatever_proxy_the_shell_names(
    routers: Routers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")

    wait(routers)

    assert routers.connections
