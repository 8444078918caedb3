from __future__ import annotations

import errno
import json
import os
import tarfile
from pathlib import Path

import pytest

from banana_delivery.errors import ImageError
from banana_delivery.images.base import BuildContext
from banana_delivery.images.oci_layout.store import OciLayoutImages
from tests.contract.image_store_contract import Sources, quiet


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path / "sources")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.fixture
def store(root: Path) -> OciLayoutImages:
    return OciLayoutImages(root)


def layer_blob(root: Path, digest: str, name: str) -> Path:
    manifest = json.loads((root / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes())
    layers = {layer["annotations"]["org.opencontainers.image.title"]: layer["digest"] for layer in manifest["layers"]}
    digest_of_layer: str = layers[name]
    return root / "blobs/sha256" / digest_of_layer.removeprefix("sha256:")


def test_the_layout_is_one_that_oci_tools_read(store: OciLayoutImages, root: Path, sources: Sources) -> None:
    built = store.build(sources.context(), quiet)
    store.tag(built.ref, ["1", "latest"])

    index = json.loads((root / "index.json").read_bytes())
    assert json.loads((root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert {d["annotations"]["org.opencontainers.image.ref.name"] for d in index["manifests"]} == {"1", "latest"}
    for descriptor in index["manifests"]:
        blob = root / "blobs/sha256" / descriptor["digest"].removeprefix("sha256:")
        assert blob.stat().st_size == descriptor["size"]


def test_two_stores_build_the_same_digest(tmp_path: Path, sources: Sources) -> None:
    digests = {OciLayoutImages(tmp_path / name).build(sources.context(), quiet).ref.digest for name in ("one", "other")}

    assert len(digests) == 1


def test_unpacking_gives_the_code_the_lock_and_the_model(store: OciLayoutImages, sources: Sources) -> None:
    built = store.build(sources.context(code="VALUE = 42\n"), quiet)

    release = store.unpack(built.ref)

    found = sorted(str(path.relative_to(release)) for path in release.rglob("*") if path.is_file())
    assert found == ["app/requirements.txt", "app/serving/__init__.py", "model/model.onnx", "model/version.json"]
    assert (release / "app/serving/__init__.py").read_text() == "VALUE = 42\n"


def test_a_release_that_is_unpacked_already_is_left_alone(store: OciLayoutImages, sources: Sources) -> None:
    built = store.build(sources.context(), quiet)
    before = store.unpack(built.ref).stat().st_ino

    assert store.unpack(built.ref).stat().st_ino == before


def test_an_unpacked_release_that_was_altered_is_replaced(store: OciLayoutImages, sources: Sources) -> None:
    built = store.build(sources.context(), quiet)
    code = store.unpack(built.ref) / "app/serving/__init__.py"
    code.write_text("VALUE = 3\n")

    store.unpack(built.ref)

    assert code.read_text() == "VALUE = 1\n"


@pytest.mark.parametrize("part", ["code", "model", "version"])
def test_an_altered_blob_is_never_found_or_unpacked_and_building_heals_it(
    store: OciLayoutImages, root: Path, sources: Sources, part: str
) -> None:
    context = sources.context()
    built = store.build(context, quiet)
    blob = layer_blob(root, built.ref.digest, part)
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")

    assert store.find(store.key(context)) is None
    with pytest.raises(ImageError, match="missing or was altered"):
        store.unpack(built.ref)

    again = store.build(context, quiet)
    assert again.layers_new == (part,)
    assert store.find(store.key(context)) == built.ref


def test_a_layer_that_points_outside_is_refused_and_nothing_is_unpacked(
    store: OciLayoutImages, tmp_path: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_evil(members: object, out: object) -> None:
        with tarfile.open(fileobj=out, mode="w") as tar:  # type: ignore[call-overload]
            tar.addfile(tarfile.TarInfo("../../escaped"))

    monkeypatch.setattr("banana_delivery.images.oci_layout.store.write_tar", write_evil)
    built = store.build(sources.context(), quiet)

    with pytest.raises(ImageError, match="points outside"):
        store.unpack(built.ref)

    assert list((tmp_path / "releases").iterdir()) == []
    assert not list(tmp_path.rglob("escaped"))


def test_a_full_disk_is_one_sentence_and_the_next_build_starts_clean(
    store: OciLayoutImages, root: Path, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.build(sources.context("1"), quiet)
    before = sorted(path.name for path in root.rglob("*"))
    context = sources.context("2", model=b"larger")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ImageError, match=r"The disk that holds .* is full"):
            store.build(context, quiet)

    assert sorted(path.name for path in root.rglob("*")) == before
    assert store.resolve(first.ref.digest) == first.ref
    assert store.build(context, quiet).ref.version == "2"


def test_what_a_killed_build_left_is_swept_by_the_next_one(
    store: OciLayoutImages, root: Path, sources: Sources
) -> None:
    store.build(sources.context(), quiet)
    (root / "blobs/sha256/.new-killed").write_bytes(b"half")

    store.build(sources.context("2"), quiet)

    assert not list(root.rglob(".new-*"))


def test_an_unreadable_index_is_one_sentence(store: OciLayoutImages, root: Path, sources: Sources) -> None:
    store.build(sources.context(), quiet)
    (root / "index.json").write_text("{")

    with pytest.raises(ImageError, match=r"index\.json is not an OCI index"):
        store.resolve("latest")


def test_retention_removes_blobs_and_the_unpacked_release_but_not_shared_layers(root: Path, sources: Sources) -> None:
    store = OciLayoutImages(root, lease_seconds=0.0)
    old = store.build(sources.context("1", model=b"old"), quiet)
    new = store.build(sources.context("2", model=b"new"), quiet)
    unpacked = store.unpack(old.ref)
    model = layer_blob(root, old.ref.digest, "model")

    store.prune(1, lambda: (), dry_run=False)

    assert not unpacked.exists()
    assert not model.exists()
    assert (store.unpack(new.ref) / "app/serving/__init__.py").exists()


def test_an_old_release_says_how_the_hosts_packages_differ(
    store: OciLayoutImages, tmp_path: Path, sources: Sources
) -> None:
    built = store.build(sources.context("1"), quiet)
    host_lock = tmp_path / "host.txt"

    host_lock.write_text("numpy==2.0.0\n")
    assert store.lock_difference(built.ref, host_lock) == ""
    host_lock.write_text("numpy==2.3.0\n")
    assert "numpy 2.0.0 -> 2.3.0" in store.lock_difference(built.ref, host_lock)


def selftest_context(sources: Sources, body: str) -> BuildContext:
    context = sources.context()
    (context.code_directory / "selftest.py").write_text(body)
    return context


def test_the_self_test_runs_the_releases_own_code_and_model_without_our_environment(
    store: OciLayoutImages, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "shown to nobody")
    body = (
        "import json, os\n"
        "said = {'digest': os.environ['IMAGE_DIGEST'], 'model_version': '1', 'env': dict(os.environ)}\n"
        "print(json.dumps({**said, 'model': open(os.environ['MODEL_PATH']).read()}))\n"
    )
    built = store.build(selftest_context(sources, body), quiet)

    report = store.self_test(built.ref)

    assert report["model"] == "weights"
    assert "SECRET" not in str(report["env"])


def test_a_self_test_that_dies_is_quoted(store: OciLayoutImages, sources: Sources) -> None:
    built = store.build(selftest_context(sources, "raise SystemExit('no such module')\n"), quiet)

    with pytest.raises(ImageError, match="exit code 1: no such module"):
        store.self_test(built.ref)
