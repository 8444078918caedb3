"""What fails says so in one sentence, leaves nothing half-done, and does not stand in the way of the next run."""

from __future__ import annotations

import base64
import contextlib
import gc
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from banana_delivery.errors import ImageError
from banana_delivery.images.docker.credentials import Credentials
from banana_delivery.images.docker.engine import Engine
from banana_delivery.images.docker.store import DockerImages
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.waiting import Retries
from tests.contract.image_store_contract import Sources, quiet
from tests.docker.daemons import OwnEngine, OwnRegistry, own_engine, own_registry, small_disk

DOCKERFILE = """ARG BASE_IMAGE
ARG RUNTIME_IMAGE
FROM ${BASE_IMAGE} AS runtime
COPY requirements/serving.txt /requirements.txt
FROM ${RUNTIME_IMAGE} AS release
COPY code/ /
COPY model/ /
COPY version/ /
"""


@dataclass
class Scene:
    """An engine and a registry that may break."""

    engine: OwnEngine
    registry: OwnRegistry
    sources: Sources
    dockerfile: Path
    base: str

    opened: list[DockerImages | Engine] = field(default_factory=list)

    def store(self, host: str = "", **changes: object) -> DockerImages:
        engine = self.engine.connect()
        arguments: dict[str, object] = {
            "dockerfile": self.dockerfile,
            "base_image": self.base,
            "engine": engine,
            "retries": Retries(attempts=3, first_wait=0.1),
            **changes,
        }
        store = DockerImages(f"{host or self.registry.host}/banana", **arguments)  # type: ignore[arg-type]
        self.opened += [store, engine]
        return store

    def close(self) -> None:
        for opened in self.opened:
            opened.close()


@pytest.fixture
def make_scene(tmp_path: Path) -> Iterator[Callable[[OwnEngine, OwnRegistry], Scene]]:
    made: list[Scene] = []

    def make(engine: OwnEngine, registry: OwnRegistry) -> Scene:
        dockerfile = tmp_path / "Dockerfile"
        dockerfile.write_text(DOCKERFILE)
        base = engine.import_base(f"{registry.host}/base")
        made.append(Scene(engine, registry, Sources(tmp_path / "sources"), dockerfile, base))
        return made[-1]

    yield make
    for scene in made:
        scene.close()


@pytest.fixture
def scene(tmp_path: Path, make_scene: Callable[[OwnEngine, OwnRegistry], Scene]) -> Iterator[Scene]:
    with own_registry(tmp_path / "registry") as registry, own_engine() as engine:
        yield make_scene(engine, registry)


def when(said: str, act: Callable[[], None]) -> Callable[[str], None]:
    """A progress callback that acts once, at the first line that holds ``said``."""
    acts = [act]

    def progress(line: str) -> None:
        if acts and said in line:
            acts.pop()()

    return progress


def loses_its_engine(test: Callable[..., None]) -> Callable[..., None]:
    """The engine's client library leaves the socket of a connection that fails to the garbage collector."""
    ignored = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
    marked: Callable[..., None] = pytest.mark.usefixtures("collected")(ignored(test))
    return marked


@pytest.fixture
def collected() -> Iterator[None]:
    yield
    gc.collect()


@loses_its_engine
def test_without_an_engine_it_says_what_to_start(scene: Scene) -> None:
    scene.engine.stop()

    with pytest.raises(ImageError, match="No Docker engine answers"):
        scene.store().build(scene.sources.context(), quiet)


@loses_its_engine
def test_an_engine_that_dies_in_the_middle_of_a_build_leaves_nothing_and_the_next_run_succeeds(scene: Scene) -> None:
    context, store = scene.sources.context(), scene.store()
    key = store.key(context)

    with pytest.raises(ImageError, match="The Docker engine stopped answering"):
        store.build(context, when("COPY model", scene.engine.kill))
    assert store.find(key) is None

    scene.engine.start()
    built = scene.store().build(context, quiet)
    assert store.find(key) == built.ref


def test_a_registry_that_is_gone_when_it_is_pushed_to_is_tried_again_then_named(scene: Scene) -> None:
    context, store = scene.sources.context(), scene.store()
    store.build(scene.sources.context("0"), quiet)
    lines: list[str] = []
    kill = when("COPY version", scene.registry.kill)

    def progress(line: str) -> None:
        lines.append(line)
        kill(line)

    with pytest.raises(ImageError, match=rf"{scene.registry.host} failed .*Tried 3 times"):
        store.build(context, progress)
    assert sum("Trying again" in line for line in lines) == 2

    scene.registry.start()
    assert store.find(store.key(context)) is None
    assert store.build(context, quiet).ref.version == "1"


def test_a_registry_that_dies_in_the_middle_of_a_push_and_comes_back_costs_only_time(scene: Scene) -> None:
    context = scene.sources.context(model=os.urandom(24_000_000))

    def blink() -> None:
        scene.registry.kill()
        scene.registry.start()

    built = scene.store(retries=Retries(attempts=4, first_wait=0.5)).build(context, when("pushing", blink))

    assert scene.store().find(scene.store().key(context)) == built.ref


def test_a_full_disk_is_named_and_a_smaller_image_still_builds(
    tmp_path: Path, make_scene: Callable[[OwnEngine, OwnRegistry], Scene]
) -> None:
    with (
        small_disk(tmp_path / "disk", 48) as disk,
        own_registry(tmp_path / "registry") as registry,
        own_engine(disk) as engine,
    ):
        scene = make_scene(engine, registry)
        store = scene.store()
        large = scene.sources.context(model=os.urandom(60_000_000))

        with pytest.raises(ImageError, match="The disk is full"):
            store.build(large, quiet)

        assert store.find(store.key(large)) is None
        assert store.build(scene.sources.context("2"), quiet).ref.version == "2"


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[OwnRegistry]:
    with own_registry(tmp_path / "locked", with_login=True) as registry:
        yield registry


def test_refused_credentials_are_named_and_the_right_ones_work_from_settings_config_and_helper(
    scene: Scene, locked: OwnRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "docker"
    config.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(config))
    monkeypatch.setenv("PATH", f"{config}:{os.environ['PATH']}")
    context = scene.sources.context()

    def build(username: str = "", password: str = "") -> str:
        store = scene.store(locked.host, username=username, password=password)
        return store.build(context, quiet).ref.digest

    for login in (("", ""), ("banana", "wrong")):
        with pytest.raises(ImageError, match=rf"{locked.host} refused the credentials .*docker login") as refusal:
            build(*login)
        assert "wrong" not in str(refusal.value)

    digest = build("banana", "right")

    token = base64.b64encode(b"banana:right").decode()
    (config / "config.json").write_text(json.dumps({"auths": {locked.host: {"auth": token}}}))
    assert build() == digest

    helper = config / "docker-credential-test"
    helper.write_text('#!/bin/sh\necho \'{"Username": "banana", "Secret": "right"}\'\n')
    helper.chmod(0o755)
    (config / "config.json").write_text(json.dumps({"credHelpers": {locked.host: "test"}}))
    assert build() == digest


def test_images_that_are_pruned_go_from_the_engine_too_and_so_do_runtimes_that_nothing_stands_on(scene: Scene) -> None:
    now = [time.time()]
    store = scene.store(clock=lambda: now[0])
    old = store.build(scene.sources.context("1"), quiet).ref
    scene.sources.lock = "numpy==2.1.0\n"
    new = store.build(scene.sources.context("2", model=b"2"), quiet).ref
    assert len(runtimes(scene)) == 2
    now[0] += 8 * 86_400

    store.prune(1, lambda: (), dry_run=False)

    assert len(runtimes(scene)) == 1
    with contextlib.closing(scene.engine.connect()) as engine:
        assert engine.labelled("banana.key", old.key) == []
        assert engine.labelled("banana.key", new.key) != []


def test_a_registry_that_allows_no_deletes_says_so_and_gives_out_the_old_images_all_the_same(
    tmp_path: Path, make_scene: Callable[[OwnEngine, OwnRegistry], Scene]
) -> None:
    with own_registry(tmp_path / "registry", deletes=False) as registry, own_engine() as engine:
        scene = make_scene(engine, registry)
        now = [time.time()]
        store = scene.store(clock=lambda: now[0])
        old = store.build(scene.sources.context("1"), quiet).ref
        store.build(scene.sources.context("2", model=b"2"), quiet)
        now[0] += 7200

        with pytest.raises(ImageError, match="does not allow deletes"):
            store.prune(1, lambda: (), dry_run=False)

        assert store.resolve(old.digest) == old


def test_a_registry_that_dies_while_it_removes_an_image_withholds_that_one_for_minutes_and_not_for_ever(
    scene: Scene,
) -> None:
    now = [time.time()]
    store = scene.store(clock=lambda: now[0])
    old = store.build(scene.sources.context("1"), quiet).ref
    store.build(scene.sources.context("2", model=b"2"), quiet)
    now[0] += 7200
    asked: list[bool] = []

    def die_when_asked_again() -> tuple[str, ...]:
        if asked:
            scene.registry.kill()
        asked.append(True)
        return ()

    with pytest.raises(ImageError, match=r"does not answer .*Tried 3 times"):
        store.prune(1, die_when_asked_again, dry_run=False)

    scene.registry.start()
    assert store.resolve(old.digest) is None
    now[0] += 1800
    assert store.resolve(old.digest) == old


def runtimes(scene: Scene) -> set[str]:
    repository = Repository.parse(f"{scene.registry.host}/banana-runtime")
    with contextlib.closing(RegistryClient(repository, Credentials(), Retries(), quiet)) as client:
        return {str(client.digest_of(tag)) for tag in client.tags()} - {"None"}
