"""The real Dockerfile, lock, serving code and a real model, in a real container."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from banana_delivery.errors import ImageError
from banana_delivery.export.export import export_model
from banana_delivery.images.base import BuildContext, BuiltImage
from banana_delivery.images.docker.engine import Engine
from banana_delivery.images.docker.store import DockerImages
from banana_delivery.model_registry.base import ModelVersion
from tests.contract.image_store_contract import quiet
from tests.docker.conftest import DOCKERFILE, ROOT, temporary_repository

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed sample, exported as the pipeline does it."""
    directory = tmp_path_factory.mktemp("model")
    version = ModelVersion(
        name="banana_sigatoka_detector",
        version="1",
        run_id="run",
        source="runs:/run/best.pt",
        stage="Staging",
        aliases=(),
        tags={},
        metrics={},
        created_at=0.0,
    )
    samples = sorted((ROOT / "serving" / "samples").glob("*.jpg"))
    export_model(ROOT / "examples" / "models" / "better" / "best.pt", directory, version, samples, quiet)
    return directory


@pytest.fixture(scope="module")
def store(registry: str, engine: Engine, base_image: str, runtime_repository: str) -> Iterator[DockerImages]:
    for repository in temporary_repository(registry, engine):
        store = DockerImages(
            repository,
            runtime_repository=runtime_repository,
            dockerfile=DOCKERFILE,
            base_image=base_image,
            engine=engine,
        )
        yield store
        store.close()


@pytest.fixture(scope="module")
def context(model: Path) -> BuildContext:
    return BuildContext(
        model_directory=model,
        code_directory=ROOT / "serving",
        lock_file=ROOT / "requirements" / "serving.txt",
        version="1",
        labels={"org.opencontainers.image.revision": "abc", "banana.mlflow_run": "run"},
    )


@pytest.fixture(scope="module")
def built(store: DockerImages, context: BuildContext) -> BuiltImage:
    return store.build(context, quiet)


def shell(engine: Engine, built: BuiltImage, script: str) -> str:
    done = engine.run(built.ref.pinned, ["sh", "-c", script], {}, 60)
    assert done.exit_code == 0, done.errors
    return done.output.strip()


@pytest.mark.timeout(300)  # Installs the whole serving lock, if this machine never did.
def test_the_built_image_passes_its_own_self_test_and_holds_no_pickle(store: DockerImages, built: BuiltImage) -> None:
    report = store.self_test(built.ref)

    assert report["ok"] is True
    assert report["digest"] == built.ref.digest
    assert store.pickles_inside(built.ref) == ()


def test_it_adds_at_most_350_megabytes_to_its_base(engine: Engine, built: BuiltImage, base_image: str) -> None:
    engine.api.pull(base_image)  # Where the runtime image was there already, nothing has asked for its base.
    release, base = engine.inspect(built.ref.pinned), engine.inspect(base_image)
    assert release is not None
    assert base is not None

    assert release["Size"] - base["Size"] <= 350 * MEGABYTE


def test_it_says_what_it_is_made_of(
    engine: Engine, built: BuiltImage, store: DockerImages, context: BuildContext
) -> None:
    release = engine.inspect(built.ref.pinned)
    assert release is not None
    labels, key = release["Config"]["Labels"], store.key(context)

    assert labels["org.opencontainers.image.version"] == "1"
    assert labels["org.opencontainers.image.revision"] == "abc"
    assert labels["banana.mlflow_run"] == "run"
    assert (labels["banana.model.sha256"], labels["banana.code.sha256"]) == (key.model, key.code)
    assert labels["banana.lock.sha256"] == key.lock
    assert release["Config"]["Healthcheck"]["Test"][0] == "CMD"


def test_it_runs_as_nobody_special_on_a_root_it_cannot_write(engine: Engine, built: BuiltImage) -> None:
    assert shell(engine, built, "id -u") == "10001"
    assert shell(engine, built, "touch /app/x 2>&1 || echo refused").endswith("refused")


def test_it_ships_neither_a_compiler_nor_a_package_cache_nor_torch(engine: Engine, built: BuiltImage) -> None:
    tools = "for tool in gcc cc g++ clang make ld; do command -v $tool; done; true"

    assert shell(engine, built, tools) == ""
    assert shell(engine, built, "find / -xdev -path '*cache/pip*' 2>/dev/null | head") == ""
    assert shell(engine, built, "python -c 'import importlib.util as u; print(u.find_spec(\"torch\"))'") == "None"


def test_the_packages_hold_no_pickles_either(engine: Engine, built: BuiltImage) -> None:
    names = "-name '*.pkl' -o -name '*.pickle' -o -name '*.pt' -o -name '*.joblib'"

    assert shell(engine, built, f"find /opt/venv \\( {names} \\) -type f") == ""


def test_a_second_version_sends_its_model_and_description_alone(
    store: DockerImages, built: BuiltImage, model: Path, context: BuildContext, tmp_path: Path
) -> None:
    new = uuid.uuid4().hex  # What any earlier run pushed to this registry would only be linked.
    weights = (model / "model.onnx").read_bytes() + new.encode()
    (tmp_path / "model.onnx").write_bytes(weights)
    described = json.loads((model / "version.json").read_text())
    (tmp_path / "version.json").write_text(json.dumps({**described, "version": "2", "source": new}))

    second = store.build(BuildContext(tmp_path, context.code_directory, context.lock_file, "2", context.labels), quiet)

    assert set(second.layers_new) == {"model", "version"}
    assert second.new_bytes <= len(weights) + MEGABYTE


def test_a_self_test_that_fails_in_the_container_says_why(
    store: DockerImages, model: Path, context: BuildContext, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    (tmp_path / "version.json").write_bytes((model / "version.json").read_bytes())
    broken = store.build(BuildContext(tmp_path, context.code_directory, context.lock_file, "1", context.labels), quiet)

    with pytest.raises(ImageError, match=r"The self-test of version 1 .* failed with exit code 1"):
        store.self_test(broken.ref)


def test_what_runs_is_the_tested_digest_after_its_tag_was_moved(
    store: DockerImages, built: BuiltImage, context: BuildContext, tmp_path: Path
) -> None:
    for name in ("model.onnx", "version.json"):
        (tmp_path / name).write_bytes((context.model_directory / name).read_bytes() + b"\n")
    intruder = store.build(BuildContext(tmp_path, context.code_directory, context.lock_file, "1"), quiet)
    store.tag(built.ref, ["1"])
    store.tag(intruder.ref, ["1"])

    assert store.resolve("1") == intruder.ref
    assert store.self_test(built.ref)["digest"] == built.ref.digest
