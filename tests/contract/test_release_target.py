"""The contract of a release target, kept by the implementations that run without a cluster."""

from __future__ import annotations

import hashlib
import json

import httpx
import pytest

from banana_delivery.evaluation.probe import as_probe
from banana_delivery.policy.model import Colour, Environment, ImageRef, TrafficSource
from banana_delivery.targets.base import Claim, ReleaseTarget
from banana_delivery.targets.fake import FakeTarget
from banana_delivery.targets.fake_place import Behaviour
from banana_delivery.targets.fake_records import FakeRecords, Lying
from banana_delivery.targets.restoring import KeptRecord
from tests.contract.local_fixture import LocalFixture
from tests.contract.release_target_contract import (
    ReleaseTargetContract,
    TargetFixture,
    Where,
    bring_up,
    counters,
    eventually,
    timed,
)


class FakeBench(TargetFixture):
    """The fake on its place, with a clock of its own."""

    def __init__(self) -> None:
        self._now = 1_000.0
        self._fake = FakeTarget(clock=lambda: self._now)
        self.target: ReleaseTarget = self._fake

    def another_target(self) -> ReleaseTarget:
        return FakeTarget(self._fake.place, clock=lambda: self._now)

    def image(self, version: str, *, failing: bool = False, broken: bool = False) -> ImageRef:
        digest = "sha256:" + hashlib.sha256(version.encode()).hexdigest()
        unready = "The process ends at once." if broken else ""
        self._fake.place.behaviours[digest] = Behaviour(error_rate=float(failing), unready=unready)
        return ImageRef(repository="fake", digest=digest, version=version, key="key")

    def advance(self, seconds: float) -> None:
        self._now += seconds

    def send(self, environment: Environment, requests: int) -> None:
        self._fake.place.serve(environment, requests)

    def probe(self, environment: Environment, colour: Colour, requests: int) -> None:
        self._fake.place.probe(environment, colour, requests, self._fake.probe_token(environment, colour))

    def pose_as_probe(self, environment: Environment, colour: Colour) -> None:
        self._fake.place.serve(environment, 1)

    def come_by_the_probes_way(self, environment: Environment, colour: Colour) -> None:
        for token in ("", "a guess"):
            self._fake.place.probe(environment, colour, 1, token)

    def edit_weights(self, weights: dict[Colour, int]) -> None:
        self._fake.place.edit_weights(Environment.PRODUCTION, weights)

    def replicas(self, environment: Environment, colour: Colour) -> set[str]:
        deployment = self._fake.place.deployments[environment].get(colour)
        return {f"{deployment.image.digest}-{number}" for number in range(deployment.replicas)} if deployment else set()

    def lying(self, environment: Environment, where: Where) -> str | None:
        there = self._places(where).get(environment)
        return there.model_dump_json() if isinstance(there, KeptRecord) else there

    def lay(self, environment: Environment, where: Where, text: str | None) -> None:
        if text is None:
            del self._places(where)[environment]
        else:
            self._places(where)[environment] = text

    def lose_the_way(self) -> None:
        del self._fake.place.records.first[Environment.PRODUCTION]
        self._fake.place.weights[Environment.PRODUCTION] = {}

    def forget(self) -> None:
        place = self._fake.place
        place.records = FakeRecords()
        for kept in (place.weights, place.deployments):
            kept.clear()

    def _places(self, where: Where) -> dict[Environment, Lying]:
        records = self._fake.place.records
        return records.first if where == "record" else records.copies


class TestFakeTarget(ReleaseTargetContract):
    @pytest.fixture
    def fixture(self) -> TargetFixture:
        return FakeBench()


class TestLocalTarget(ReleaseTargetContract):
    @pytest.fixture
    def fixture(self, local_fixture: LocalFixture) -> TargetFixture:
        return local_fixture

    def test_a_release_from_before_there_were_proofs_is_probed_as_it_ever_was(
        self, local_fixture: LocalFixture, claim: Claim
    ) -> None:
        target = local_fixture.target
        bring_up(target, claim, Colour.BLUE, local_fixture.releases.image("1", old=True))
        before = counters(target, Colour.BLUE, TrafficSource.PROBE)

        local_fixture.probe(Environment.PRODUCTION, Colour.BLUE, 2)

        def counted() -> tuple[int, int]:
            now = counters(target, Colour.BLUE, TrafficSource.PROBE)
            return now.requests - before.requests, timed(now) - timed(before)

        eventually(lambda: counted() == (2, 2))
        # Deployed by an earlier version of the pipeline: nothing to prove, and nobody asks for it.
        path = local_fixture.paths.replica_set(Environment.PRODUCTION, Colour.BLUE)
        found = json.loads(path.read_text())
        del found["probe_token"]
        path.write_text(json.dumps(found))
        target.scale(claim, Colour.BLUE, 1)

        assert target.probe_token(Environment.PRODUCTION, Colour.BLUE) == ""
        address = target.probe_url(Environment.PRODUCTION, Colour.BLUE)
        # The same replicas with another way to them: nothing that the router tells shows when it has taken that up.
        eventually(lambda: local_fixture.predict(address, **as_probe("")).is_success)
        eventually(lambda: counted() == (3, 3))

    def test_the_routers_own_pages_tell_nobody_what_the_probe_proves_itself_by(
        self, local_fixture: LocalFixture, claim: Claim
    ) -> None:
        target = local_fixture.target
        bring_up(target, claim, Colour.BLUE, local_fixture.image("1"))
        token = target.probe_token(Environment.PRODUCTION, Colour.BLUE)
        api = f"http://127.0.0.1:{local_fixture.settings.router_api_port}"

        pages = {
            path: httpx.get(f"{api}{path}", timeout=10.0, trust_env=False)
            for path in ("/api/http/services", "/api/http/routers", "/api/rawdata", "/api/http/middlewares", "/metrics")
        }

        assert token in (local_fixture.paths.router_dynamic / "production-backends.yml").read_text()
        assert pages["/api/http/services"].is_success and pages["/metrics"].is_success
        assert not [path for path, page in pages.items() if token in page.text]
