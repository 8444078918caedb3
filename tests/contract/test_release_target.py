"""The contract of a release target, kept by the implementations that run without a cluster."""

from __future__ import annotations

import hashlib

import pytest

from banana_delivery.policy.model import Colour, Environment, ImageRef
from banana_delivery.targets.base import ReleaseTarget
from banana_delivery.targets.fake import FakeTarget
from banana_delivery.targets.fake_place import Behaviour
from banana_delivery.targets.fake_records import FakeRecords, Lying
from banana_delivery.targets.restoring import KeptRecord
from tests.contract.local_fixture import LocalFixture
from tests.contract.release_target_contract import ReleaseTargetContract, TargetFixture, Where


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
        self._fake.place.probe(environment, colour, requests)

    def pose_as_probe(self, environment: Environment, colour: Colour) -> None:
        self._fake.place.serve(environment, 1)

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
