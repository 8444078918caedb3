"""What every source of a rollout's figures promises: the same scene comes to the same tallies, whoever tells it.

A source subclasses ``MetricsContract`` and overrides the fixture ``source``. What it shows is drawn from one ``World``
in the forms that Traefik, Prometheus and the serving application really have.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from banana_delivery.errors import TargetError
from banana_delivery.policy.model import Backend, Colour, Counters, TrafficSnapshot, TrafficSource
from banana_delivery.policy.rollout.counters import Tally, add, delta, tally
from serving.metrics import DURATION_BUCKETS

BLUE, GREEN = Colour.BLUE, Colour.GREEN
USER, PROBE = TrafficSource.USER, TrafficSource.PROBE
BUDGET_SECONDS = 1.0
HISTORY = 40
"""Requests of each kind that were counted before anybody looked."""

Key = tuple[Colour, TrafficSource, str]


@dataclass
class Process:
    """A router or a replica since it started.

    Attributes:
        name: of the place it runs in; it keeps that when it restarts.
        started: seconds since the epoch.
        colour: of a replica.
        answers: durations in seconds by backend and status; a replica's status is preceded by the route.
        overloads: 503 answers with Retry-After, by source.
    """

    name: str
    started: float
    colour: Colour = BLUE
    answers: dict[Key, list[float]] = field(default_factory=dict)
    overloads: dict[TrafficSource, int] = field(default_factory=dict)

    def restart(self, now: float) -> None:
        """Count from zero again, later than before."""
        self.started, self.answers, self.overloads = now, {}, {}

    def count(self, key: Key, seconds: float, times: int) -> None:
        """Some answers of one kind."""
        self.answers.setdefault(key, []).extend([seconds] * times)


class World:
    """Routers, replicas and users, and the time, which passes only from poll to poll."""

    def __init__(self, routers: int) -> None:
        self.now = 1_800_000_000.0
        self.routers = [Process(f"10.0.0.{number}:9100", self.now - 86_400 - number) for number in range(routers)]
        self.replicas = [Process(f"{colour}-0", self.now - 3600, colour) for colour in (BLUE, GREEN)]
        for status, seconds in (("200", 0.05), ("200", 3.0), ("500", 0.05), ("499", 4.0)):
            for number in range(routers):
                self.ask(BLUE, status=status, seconds=seconds, times=HISTORY, router=number)
        self.ask(GREEN, PROBE, status="500", times=HISTORY)

    def ask(
        self,
        colour: Colour = GREEN,
        source: TrafficSource = USER,
        *,
        route: str = "/predict",
        status: str = "200",
        seconds: float = 0.05,
        retry_after: bool = False,
        times: int = 1,
        router: int = 0,
    ) -> None:
        """Some requests that a replica answered, or whose client hung up (499), through one of the routers."""
        self.routers[router % len(self.routers)].count((colour, source, status), seconds, times)
        replica = next(item for item in self.replicas if item.colour == colour)
        replica.count((colour, source, f"{route} {status}"), seconds, times)
        if retry_after:
            replica.overloads[source] = replica.overloads.get(source, 0) + times


class MetricsSource(ABC):
    """A way to the figures of a world's production, with all that the product has of it.

    Attributes:
        world: what there is to see.
        tells_who_hung_up: whether anybody counts clients that hung up.
    """

    routers: ClassVar[int] = 1
    tells_who_hung_up: ClassVar[bool] = True

    def __init__(self) -> None:
        self.world = World(self.routers)
        self.blind = False
        self.nonsense: Callable[[int, str], tuple[int, str]] | None = None

    @abstractmethod
    def snapshot(self) -> TrafficSnapshot:
        """What the product makes of it."""

    @abstractmethod
    def nonsenses(self) -> dict[str, Callable[[int, str], tuple[int, str]]]:
        """By name, what becomes of an answer's status and text that is then none."""


def replica_text(replica: Process) -> str:
    """The page of a replica, as the serving application draws it."""
    registry = CollectorRegistry()
    duration = Histogram(
        "banana_request_duration_seconds", ".", ["route", "traffic"], buckets=DURATION_BUCKETS, registry=registry
    )
    requests = Counter("banana_requests_total", ".", ["route", "status", "traffic"], registry=registry)
    overload = Counter("banana_overload_total", ".", ["traffic"], registry=registry)
    Gauge("process_start_time_seconds", ".", registry=registry).set(replica.started)
    for (_, source, what), answers in replica.answers.items():
        route, status = what.split()
        requests.labels(route, status, source.value).inc(len(answers))
        for seconds in answers:
            duration.labels(route, source.value).observe(seconds)
    for source, count in replica.overloads.items():
        overload.labels(source.value).inc(count)
    return generate_latest(registry).decode()


def traefik_text(router: Process, name: Callable[[Colour, TrafficSource], str], buckets: tuple[float, ...]) -> str:
    """The page of a Traefik, by how it names its services and the buckets that it keeps."""
    registry = CollectorRegistry()
    labels = ["code", "method", "protocol", "service"]
    requests = Counter("traefik_service_requests_total", ".", labels, registry=registry)
    duration = Histogram("traefik_service_request_duration_seconds", ".", labels, buckets=buckets, registry=registry)
    Gauge("process_start_time_seconds", ".", registry=registry).set(router.started)
    Counter("traefik_config_reloads_total", ".", registry=registry).inc()
    for (colour, source, code), answers in router.answers.items():
        requests.labels(code, "POST", "http", name(colour, source)).inc(len(answers))
        for seconds in answers:
            duration.labels(code, "POST", "http", name(colour, source)).observe(seconds)
    return generate_latest(registry).decode()


@contextmanager
def http_server(answer: Callable[[str], tuple[int, str]], now: Callable[[], float]) -> Iterator[int]:
    """A server on 127.0.0.1 whose clock is the world's; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = answer(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(now() if timestamp is None else timestamp)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


class Watch:
    """Polls a source as a rollout does, and adds up what is new."""

    def __init__(self, source: MetricsSource) -> None:
        self._source = source
        self._last = source.snapshot()
        self._new: dict[str, Counters] = {}

    def poll(self, after_seconds: float = 1.0) -> None:
        """Look once more."""
        self._source.world.now += after_seconds
        snapshot = self._source.snapshot()
        for key, counters in snapshot.backends.items():
            news = delta(counters, self._last.backends.get(key, Counters()))
            self._new[key] = add(self._new.get(key, Counters()), news)
        self._last = self._last.replace(backends={**self._last.backends, **snapshot.backends})

    def of(self, colour: Colour = GREEN, source: TrafficSource = USER) -> Counters:
        """What was counted since the watch began."""
        return self._new.get(Backend(colour=colour, source=source).key, Counters())

    @property
    def everything(self) -> Tally:
        """The tallies of all backends together."""
        return reduce(Tally.__add__, (tally(new, BUDGET_SECONDS) for new in self._new.values()), Tally())


class MetricsContract:
    """One class of tests for every source."""

    @pytest.fixture
    def source(self) -> MetricsSource:
        raise NotImplementedError

    @pytest.fixture
    def world(self, source: MetricsSource) -> World:
        return source.world

    @pytest.fixture
    def watch(self, source: MetricsSource) -> Watch:
        return Watch(source)

    def test_history_is_nobodys_news(self, watch: Watch) -> None:
        watch.poll()

        assert watch.everything == Tally()

    def test_answers_are_counted_where_they_were_given(self, world: World, watch: Watch) -> None:
        world.ask(times=5, router=0)
        world.ask(status="500", times=2, router=1)
        world.ask(GREEN, PROBE, times=3)
        world.ask(BLUE, status="422", router=1)

        watch.poll()

        assert tally(watch.of(), BUDGET_SECONDS) == Tally(requests=7, failed=2, answered=7)
        assert tally(watch.of(GREEN, PROBE), BUDGET_SECONDS) == Tally(requests=3, answered=3)
        assert tally(watch.of(BLUE), BUDGET_SECONDS) == Tally(requests=1, answered=1)

    def test_a_client_that_hangs_up_has_met_a_failure_from_the_latency_budget_on(
        self, source: MetricsSource, world: World, watch: Watch
    ) -> None:
        for seconds in (0.5, 2.0, 6.0):
            world.ask(status="499", seconds=seconds)
        world.ask()

        watch.poll()

        gave_up = 2 if source.tells_who_hung_up else 0
        assert watch.of().requests == 1 + gave_up
        assert watch.of().failures == {"5xx": 0, "connection": 0, "timeout": 0, "gave_up": gave_up}

    @pytest.mark.parametrize("route", ["/predict", "/predict/batch", "/predict/annotated"])
    def test_latency_is_that_of_every_route_that_predicts(self, world: World, watch: Watch, route: str) -> None:
        world.ask(route=route, seconds=0.2, times=3)
        world.ask(route=route, seconds=2.0, times=2)

        watch.poll()

        assert tally(watch.of(), BUDGET_SECONDS) == Tally(requests=5, answered=5, slow=2)

    @pytest.mark.parametrize("route", ["/health", "/predictions", "/predict/other", "other"])
    def test_latency_of_no_other_route_counts(self, world: World, watch: Watch, route: str) -> None:
        world.replicas[1].count((GREEN, USER, f"{route} 200"), 5.0, 9)

        watch.poll()

        assert watch.everything == Tally()

    def test_a_503_is_an_overload_if_a_replica_said_come_back_and_else_a_failure(
        self, world: World, watch: Watch
    ) -> None:
        world.ask(times=4)
        world.ask(status="503", retry_after=True, times=3, router=0)
        world.ask(status="503", times=2, router=1)

        watch.poll()

        assert (watch.of().requests, watch.of().overloads) == (9, 3)
        assert watch.of().failures["5xx"] == watch.of().failed == 2

    def test_a_restarted_replica_counts_from_zero_again(self, world: World, watch: Watch) -> None:
        world.ask(times=5)
        watch.poll()
        world.replicas[1].restart(world.now)
        for _ in range(2):
            world.ask(times=3)
            world.ask(seconds=2.0)
            watch.poll()

        assert tally(watch.of(), BUDGET_SECONDS) == Tally(requests=13, answered=13, slow=2)

    def test_a_replica_that_counted_more_since_its_restart_than_before_lost_nothing(
        self, world: World, watch: Watch
    ) -> None:
        world.ask(times=2, seconds=2.0)
        watch.poll()
        world.replicas[1].restart(world.now)
        world.ask(times=7, seconds=2.0)
        watch.poll()

        assert tally(watch.of(), BUDGET_SECONDS) == Tally(requests=9, answered=9, slow=9)

    def test_a_replica_that_comes_later_counts_from_zero(self, world: World, watch: Watch) -> None:
        world.now += 1
        world.replicas.insert(0, Process("green-1", world.now, GREEN))
        world.ask(times=6, seconds=2.0)
        watch.poll()

        assert tally(watch.of(), BUDGET_SECONDS) == Tally(requests=6, answered=6, slow=6)

    def test_one_of_the_routers_restarts_and_no_history_becomes_new(self, world: World, watch: Watch) -> None:
        world.ask(BLUE, times=5, router=1)
        watch.poll()
        world.routers[0].restart(world.now)
        for number in range(2):
            world.ask(BLUE, times=3, router=number)
            world.ask(BLUE, status="500", router=0)
            watch.poll()

        assert watch.of(BLUE).requests == 5 + 2 * 4
        assert watch.of(BLUE).failures == {"5xx": 2, "connection": 0, "timeout": 0, "gave_up": 0}

    def test_a_router_that_counted_more_since_its_restart_than_before_lost_nothing(
        self, world: World, watch: Watch
    ) -> None:
        world.ask(status="500", times=2)
        watch.poll()
        world.routers[0].restart(world.now)
        world.ask(status="500", times=7)
        watch.poll()

        assert watch.of().failures["5xx"] == 9

    def test_one_of_the_routers_is_replaced_and_the_new_one_counts_from_zero(self, world: World, watch: Watch) -> None:
        watch.poll()
        world.routers[0] = Process("10.0.0.77:9100", world.now)
        world.ask(BLUE, times=3, router=0)
        world.ask(BLUE, status="500", router=1)
        watch.poll()

        assert (watch.of(BLUE).requests, watch.of(BLUE).failed) == (4, 1)

    def test_a_source_that_shows_nothing_at_first_makes_no_history_new(
        self, source: MetricsSource, world: World
    ) -> None:
        source.blind = True
        try:
            watch = Watch(source)
        except TargetError:
            source.blind = False
            watch = Watch(source)
        source.blind = False
        watch.poll()
        assert (watch.everything.requests, watch.everything.slow) == (0, 0)

        world.ask(status="500", times=3)
        watch.poll()

        assert (watch.everything.requests, watch.everything.failed) == (3, 3)

    def test_what_is_lost_from_sight_for_a_minute_is_counted_once(
        self, source: MetricsSource, world: World, watch: Watch
    ) -> None:
        world.ask(status="500", times=2)
        watch.poll()
        source.blind = True
        for _ in range(3):
            try:
                watch.poll(20.0)
            except TargetError as error:
                assert "\n" not in str(error)
        source.blind = False
        watch.poll()
        assert watch.of().failed == watch.of().requests == 2

        world.ask(times=4)
        watch.poll()

        assert (watch.of().failed, watch.of().requests) == (2, 6)

    def test_what_is_no_figure_is_said_in_a_sentence_and_neither_zero_nor_counted_later(
        self, source: MetricsSource, world: World, watch: Watch
    ) -> None:
        for name, nonsense in source.nonsenses().items():
            watch.poll()
            before = watch.of()
            world.ask(times=5)
            source.nonsense = nonsense
            with pytest.raises(TargetError) as raised:
                watch.poll()
            assert "\n" not in str(raised.value), name
            assert len(str(raised.value)) < 700, name
            source.nonsense = None

            watch.poll()

            assert delta(watch.of(), before).requests == 5, name
            assert watch.of().failed == 0, name
