"""What the pod that writes into the registry does not do, whoever orders it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from banana_delivery.delivery.image_build import build_context
from banana_delivery.delivery.signing import publisher
from banana_delivery.images.supply_chain.publication import Publication
from banana_delivery.names import KEY_LABEL, KEY_TAG_PREFIX, MLFLOW_RUN_LABEL
from banana_delivery.policy.model import ImageRef
from banana_delivery.publishing.order import BuildOrder, Order
from banana_delivery.settings import Settings
from tests.contract.image_store_contract import quiet
from tests.support.artifacts import artifact_record
from tests.unit.publishing.test_store import Scene, scene

__all__ = ["scene"]


def run(scene: Scene, folder: Path, order: Order) -> int:
    (folder / "order.json").write_text(order.model_dump_json())
    return scene.pod.work(folder)


def given(folder: Path) -> Path:
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"weights")
    (folder / "version.json").write_text("{}")
    return folder


def test_the_key_and_the_login_are_no_model(scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, before = given(tmp_path / "order"), dict(scene.registry.manifests)
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to(scene.key)

    assert run(scene, folder, Order(build=BuildOrder(version="7", labels={}))) == 1
    assert scene.registry.manifests == before
    assert not (folder / "answer.json").exists()
    assert capsys.readouterr().out


def test_an_order_that_is_a_link_is_not_read(scene: Scene, tmp_path: Path) -> None:
    folder = given(tmp_path / "order")
    (folder / "order.json").symlink_to(scene.key)
    assert scene.pod.work(folder) == 1


def test_an_answer_is_written_through_no_link(scene: Scene, tmp_path: Path) -> None:
    folder, victim = given(tmp_path / "order"), tmp_path / "victim"
    victim.write_text("mine")
    (folder / "answer.json").symlink_to(victim)
    assert run(scene, folder, Order(lend="sha256:" + "a" * 64)) == 1
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("version", ["../../7", "latest", "7@evil"])
def test_what_is_no_version_is_not_built(scene: Scene, tmp_path: Path, version: str) -> None:
    before = dict(scene.registry.manifests)
    assert run(scene, given(tmp_path / "order"), Order(build=BuildOrder(version=version, labels={}))) == 1
    assert scene.registry.manifests == before


def test_labels_that_the_registry_is_searched_by_are_not_taken_from_an_order(scene: Scene, tmp_path: Path) -> None:
    labels = {MLFLOW_RUN_LABEL: "r", KEY_LABEL: "f" * 64, "org.opencontainers.image.title": "evil"}
    folder = given(tmp_path / "order")
    assert run(scene, folder, Order(build=BuildOrder(version="7", labels=labels))) == 0

    ref = scene.store.peek("7")
    assert ref
    its = scene.store.labels(ref)
    assert its[MLFLOW_RUN_LABEL] == "r"
    assert "org.opencontainers.image.title" not in its
    assert its[KEY_LABEL] != "f" * 64


@pytest.mark.parametrize(
    "strange",
    [
        {"tags": (f"{KEY_TAG_PREFIX}{'a' * 32}",)},
        {"tags": ("sha256-" + "a" * 64 + ".sig",)},
        {"tags": ("not a tag",)},
        {"said": {"https://evil.example/claim": {}}},
        {"bill": "no JSON"},
    ],
)
def test_what_no_delivery_puts_beside_an_image_is_not_put_there(
    scene: Scene, tmp_path: Path, strange: dict[str, object]
) -> None:
    ref = scene.store.build(scene.context, quiet).ref
    before = dict(scene.registry.tags)
    order = Order(publish=Publication.model_validate({"ref": ref.model_dump(), "sign": True, **strange}))
    assert run(scene, given(tmp_path / "order"), order) == 1
    assert scene.registry.tags == before


def test_what_is_no_release_or_lies_elsewhere_is_not_signed(scene: Scene, tmp_path: Path) -> None:
    ref = scene.store.build(scene.context, quiet).ref
    for number, other in enumerate(
        (ref.replace(repository="evil.example/acme/banana"), ref.replace(digest="sha256:" + "b" * 64))
    ):
        folder = given(tmp_path / str(number))
        assert run(scene, folder, Order(publish=Publication(ref=ImageRef.model_validate(other), sign=True))) == 1


def test_nothing_of_a_model_stays_with_the_pod(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    folder = given(tmp_path / "order")
    assert run(scene, folder, Order(build=BuildOrder(version="7", labels={}))) == 0
    assert list(scratch.iterdir()) == []


def test_every_label_that_a_delivery_gives_is_taken(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, source_url="https://source.test")
    assert set(build_context(artifact_record(tmp_path, "7"), settings).labels) == set(publisher.LABELS)


ELSEWHERE = f"../../other/manifests/{'a' * 64}"


@pytest.mark.parametrize(
    "order",
    [
        {"lend": ELSEWHERE},
        {"lend": "latest"},
        {"build": {"version": "7", "labels": {}, "vouched": f"r.test/runtime@{ELSEWHERE}"}},
        {"prune": {"keep_versions": 0, "in_use": []}},
        {"also": "this"},
    ],
)
def test_what_leads_elsewhere_or_is_no_order_is_refused_before_anybody_is_asked(
    scene: Scene, tmp_path: Path, order: dict[str, object]
) -> None:
    folder, asked = given(tmp_path / "order"), scene.registry.asked.total()
    (folder / "order.json").write_text(json.dumps(order))
    assert scene.pod.work(folder) == 1
    assert scene.registry.asked.total() == asked


def test_the_program_loads_neither_the_framework_nor_a_client_of_the_cluster() -> None:
    seen = "import sys, banana_delivery.delivery.signing.publisher; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True).stdout.split()
    assert not {"dagster", "kubernetes", "mlflow", "torch"} & set(loaded)
