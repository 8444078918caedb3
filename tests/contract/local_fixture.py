"""The local target on a stack of its own: real supervisord, real Traefik and real, if tiny, replicas."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path

import httpx
import yaml

from banana_delivery.embedded.paths import LocalPaths
from banana_delivery.embedded.processes import router
from banana_delivery.embedded.replicas import ReplicaSet, name_prefix
from banana_delivery.embedded.router.traefik import Router
from banana_delivery.embedded.stack import EmbeddedStack
from banana_delivery.embedded.supervisor import Supervisor
from banana_delivery.embedded.target import LocalTarget
from banana_delivery.evaluation.probe import as_probe
from banana_delivery.policy.model import COLOURS, Colour, Environment, ImageRef
from banana_delivery.settings import Settings
from banana_delivery.targets.base import ReleaseTarget
from tests.contract.release_target_contract import TargetFixture, Where
from tests.support.ports import free_ports

TINY_RELEASE = Path(__file__).parent / "tiny_release"


def local_settings(home: Path) -> Settings:
    """Settings for a stack that gets in nobody's way."""
    production, staging, probe, api, mlflow, dagster, replicas = free_ports(7)
    return Settings(
        home=home,
        production_port=production,
        staging_port=staging,
        probe_port=probe,
        router_api_port=api,
        mlflow_port=mlflow,
        dagster_port=dagster,
        replica_port_base=replicas,
    )


class TinyReleases:
    """Releases that start in a moment, as they look once they are unpacked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def image(self, version: str, *, failing: bool = False, broken: bool = False, old: bool = False) -> ImageRef:
        """A release; an ``old`` one is from before the probe proved anything."""
        digest = hashlib.sha256(f"{version} {failing} {broken} {old}".encode()).hexdigest()
        model = self._folder / digest / "model"
        if not model.exists():
            shutil.copytree(TINY_RELEASE, self._folder / digest / "app", ignore=shutil.ignore_patterns("__pycache__"))
            model.mkdir()
            (model / "version.json").write_text(
                json.dumps({"version": version, "failing": failing, "broken": broken, "old": old})
            )
        return ImageRef(repository="tiny", digest=f"sha256:{digest}", version=version, key=version)

    def unpack(self, image: ImageRef) -> Path:
        return self._folder / image.digest.removeprefix("sha256:")


class LocalFixture(TargetFixture):
    """The local target, its stack and its users."""

    def __init__(self, home: Path, settings: Settings | None = None) -> None:
        self.settings = settings or local_settings(home)
        self.paths = LocalPaths(self.settings.home)
        self.releases = TinyReleases(home / "releases")
        self.stack = EmbeddedStack(self.settings, [router(self.settings)])
        self.supervisor = Supervisor(self.paths)
        self.target: ReleaseTarget = self.another_target()
        self._late = 0.0

    def another_target(self) -> LocalTarget:
        return LocalTarget(self.settings, self.releases.unpack, clock=lambda: time.time() + self._late)

    def reset(self) -> None:
        """Make every environment one that was never used; the router keeps its counters."""
        replicas = [name for name in self.supervisor.processes() if name != "router"]
        for name in replicas:
            self.supervisor.forget(name)
        self.supervisor.stop(*replicas, wait=True)
        self.supervisor.remove(*replicas)
        for folder in ("environments", "records"):
            shutil.rmtree(self.settings.home / folder, ignore_errors=True)
        routing = Router(self.paths, self.settings.router_api_port)
        for environment in Environment:
            nothing = dict.fromkeys(COLOURS[environment], 0)
            if replicas or routing.weights(environment) != nothing:
                routing.write_backends(environment, {}, {})
                routing.write_weights(environment, nothing)
                routing.await_backends(environment, {})
                routing.await_weights(environment, nothing)
        self.target = self.another_target()

    def image(self, version: str, *, failing: bool = False, broken: bool = False) -> ImageRef:
        return self.releases.image(version, failing=failing, broken=broken)

    def advance(self, seconds: float) -> None:
        self._late += seconds

    def send(self, environment: Environment, requests: int) -> None:
        for _ in range(requests):
            self.predict(self.target.url(environment))

    def probe(self, environment: Environment, colour: Colour, requests: int) -> None:
        for _ in range(requests):
            proven = as_probe(self.target.probe_token(environment, colour))
            self.predict(self.target.probe_url(environment, colour), **proven)

    def pose_as_probe(self, environment: Environment, colour: Colour) -> None:
        headers = {"X-Banana-Traffic": "probe", "X_Banana_Traffic": "probe"}
        assert self.predict(self.target.url(environment), **headers).json() == {"traffic": "user"}
        assert self.predict(f"{self.target.url(environment)}/{colour}", **headers).status_code == httpx.codes.NOT_FOUND

    def come_by_the_probes_way(self, environment: Environment, colour: Colour) -> None:
        """By the router, which sends it away, and past the router, as any process of this machine may."""
        ports = ReplicaSet.read_json(self.paths.replica_set(environment, colour).read_text()).ports
        for headers in (as_probe(""), as_probe("a guess")):
            said = self.predict(self.target.probe_url(environment, colour), **headers)
            assert said.status_code == httpx.codes.NOT_FOUND
            for port in ports:
                assert self.predict(f"http://127.0.0.1:{port}", **headers).json() == {"traffic": "user"}

    def predict(self, url: str, **headers: str) -> httpx.Response:
        """One prediction."""
        return httpx.post(f"{url}/predict", content=b"leaf", headers=headers, timeout=10.0, trust_env=False)

    def edit_weights(self, weights: dict[Colour, int]) -> None:
        path = self.paths.router_dynamic / "production-weights.yml"
        config = yaml.safe_load(path.read_text())
        split = config["http"]["services"]["production-users"]["weighted"]["services"]
        for service, weight in zip(split, weights.values(), strict=True):
            service["weight"] = weight
        path.write_text(yaml.safe_dump(config))

    def replicas(self, environment: Environment, colour: Colour) -> set[str]:
        prefix = name_prefix(environment, colour)
        processes = self.supervisor.processes().values()
        return {f"{item.name} {item.pid}" for item in processes if item.name.startswith(prefix) and item.pid}

    def lying(self, environment: Environment, where: Where) -> str | None:
        path = self._place(environment, where)
        return path.read_text() if path.exists() else None

    def lay(self, environment: Environment, where: Where, text: str | None) -> None:
        path = self._place(environment, where)
        if text is None:
            path.unlink()
        else:
            path.write_text(text)

    def lose_the_way(self) -> None:
        self.paths.record(Environment.PRODUCTION).unlink()
        (self.paths.router_dynamic / "production-weights.yml").unlink()

    def forget(self) -> None:
        self.reset()

    def _place(self, environment: Environment, where: Where) -> Path:
        return self.paths.record(environment) if where == "record" else self.paths.record_copy(environment)
