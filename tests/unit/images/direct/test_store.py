"""Images that are written into a registry without an engine."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from banana_delivery.errors import ImageError, SelfTestFailedError
from banana_delivery.images.base import BuildContext
from banana_delivery.images.direct.store import DirectImages, direct_images
from banana_delivery.images.docker.store import DockerImages
from banana_delivery.images.oci_registry.pins import deletion_tag
from banana_delivery.images.oci_registry.runtime import RuntimeRepository, runtime_tag
from banana_delivery.platforms import registry_images
from banana_delivery.policy.model import ImageRef
from banana_delivery.settings import Settings
from banana_delivery.waiting import Retries
from tests.contract.image_store_contract import Clock, Sources, quiet
from tests.support.runtime_image import (
    CONFIG,
    DOCKERFILE,
    OCI_LAYER,
    PLATFORM,
    put_base,
    put_index,
    put_runtime,
    tar_of,
)
from tests.unit.images.oci_registry.registry_server import Answer, RegistryServer, digest, serving

LAYER = gzip.compress(tar_of({"etc/os-release": b"ID=test"}), mtime=0)


@pytest.fixture
def store(registry: RegistryServer, base: str) -> Iterator[DirectImages]:
    with closing(store_at(registry, base)) as store:
        yield store


def store_at(registry: RegistryServer, base: str, **changes: object) -> DirectImages:
    arguments: dict[str, object] = {
        "dockerfile": DOCKERFILE,
        "base_image": base,
        "platform": PLATFORM,
        "retries": Retries(attempts=2, first_wait=0.01),
        "clock": Clock(),
        **changes,
    }
    return DirectImages(f"{registry.host}/acme/banana", **arguments)  # type: ignore[arg-type]


def read(registry: RegistryServer, ref: ImageRef) -> tuple[dict[str, object], dict[str, object]]:
    """Manifest and config of an image."""
    manifest = json.loads(registry.manifests[ref.digest])
    return manifest, json.loads(registry.blobs[manifest["config"]["digest"]])


def test_a_release_is_its_runtime_with_three_layers_and_says_how_the_dockerfile_runs_it(
    registry: RegistryServer, base: str, store: DirectImages, context: BuildContext
) -> None:
    runtime = put_runtime(registry, context.lock_file, base)

    built = store.build(context, quiet)

    manifest, image = read(registry, built.ref)
    config = image["config"]
    assert isinstance(config, dict)
    layers = manifest["layers"]
    assert isinstance(layers, list)
    assert layers[0]["digest"] == digest(LAYER)
    assert len(layers) == 4
    assert config["Cmd"] == ["python", "-m", "serving"]
    assert (config["User"], config["Env"], config["WorkingDir"]) == ("10001:10001", CONFIG["Env"], "/app")
    assert "Hostname" not in config
    assert config["Labels"]["banana.runtime"] == f"{registry.host}/acme/banana-runtime@{runtime}"
    assert config["Labels"]["banana.version"] == "7"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "AGPL-3.0-or-later"
    assert built.layers_new == ("code", "model", "version")
    assert built.layers_reused == ("runtime 1",)


def test_equal_inputs_give_equal_digests_in_two_registries_at_two_times(
    registry: RegistryServer, base: str, store: DirectImages, context: BuildContext, tmp_path: Path
) -> None:
    put_runtime(registry, context.lock_file, base)
    first = store.build(context, quiet).ref
    before = read(registry, first)
    registry.manifests.clear()
    registry.tags.clear()
    registry.blobs.clear()

    clock = Clock(2_000_000_000.0)
    with closing(store_at(registry, base, clock=clock)) as other:
        again = other.build(Sources(tmp_path / "elsewhere").context("7"), quiet).ref

    assert again == first
    assert read(registry, again) == before


def test_a_runtime_that_was_never_built_is_one_sentence_with_the_command_that_builds_it(
    store: DirectImages, context: BuildContext, base: str, registry: RegistryServer
) -> None:
    with pytest.raises(ImageError) as refusal:
        store.build(context, quiet)

    said = str(refusal.value)
    assert "assemble-runtime" in said
    assert f"--build-arg BASE_IMAGE={base} --tag {registry.host}/acme/banana-runtime:lock-" in said
    assert f"--target runtime --build-arg BASE_IMAGE={base}" in said
    assert f"--platform {PLATFORM}" in said
    lock = context.lock_file.name
    assert f"tar -c Dockerfile requirements/{lock} |" in said
    assert said.endswith(f" --build-arg LOCK={lock} -")
    assert registry.tags == {}


def test_of_a_runtime_for_several_platforms_the_right_one_is_taken_and_named(
    registry: RegistryServer, base: str, context: BuildContext
) -> None:
    amd = put_runtime(registry, context.lock_file, base, tagged=False)
    arm = put_runtime(registry, context.lock_file, base, platform="linux/arm64", tagged=False)
    runtime = next(other for other in registry.others if other.path == "acme/banana-runtime")
    both = put_index(runtime, {"linux/amd64": amd, "linux/arm64": arm})
    for wanted, image in (("linux/amd64", amd), ("linux/arm64", arm)):
        with closing(store_at(registry, base, platform=wanted)) as store:
            with pytest.raises(ImageError, match="is not there"):
                store.build(context, quiet)
            put_runtime(registry, context.lock_file, base, platform=wanted)
            tag = next(tag for tag in runtime.tags if runtime.tags[tag] == image)
            runtime.tags[tag] = both

            ref = store.build(context, quiet).ref

            assert store.labels(ref)["banana.runtime"].endswith(image)
            assert read(registry, ref)[1]["architecture"] == wanted.partition("/")[2]
            runtime.tags.clear()


def test_a_runtime_for_other_platforms_alone_is_refused(
    registry: RegistryServer, base: str, context: BuildContext, store: DirectImages
) -> None:
    arm = put_runtime(registry, context.lock_file, base, platform="linux/arm64", tagged=False)
    put_runtime(registry, context.lock_file, base)
    runtime = next(other for other in registry.others if other.path == "acme/banana-runtime")
    (tag,) = runtime.tags
    runtime.tags[tag] = put_index(runtime, {"linux/arm64": arm})
    with pytest.raises(ImageError, match="holds no image for linux/amd64"):
        store.build(context, quiet)

    runtime.tags[tag] = arm
    with pytest.raises(ImageError, match=r"is for linux/arm64, not for linux/amd64"):
        store.build(context, quiet)


@pytest.mark.parametrize(
    ("told", "written"),
    [
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", OCI_LAYER),
        ("application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.oci.image.layer.v1.tar+zstd"),
        ("application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar"),
    ],
)
def test_layers_of_every_builder_can_be_stood_on(
    told: str, written: str, registry: RegistryServer, base: str, context: BuildContext, store: DirectImages
) -> None:
    put_runtime(registry, context.lock_file, base, layer_type=told)

    manifest, _ = read(registry, store.build(context, quiet).ref)

    assert manifest["layers"][0]["mediaType"] == written  # type: ignore[index]


def test_a_layer_that_lies_elsewhere_cannot_be_stood_on(
    registry: RegistryServer, base: str, context: BuildContext, store: DirectImages
) -> None:
    put_runtime(
        registry, context.lock_file, base, layer_type="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    )

    with pytest.raises(ImageError, match="no release can stand on"):
        store.build(context, quiet)


def test_layers_that_the_registry_will_not_link_are_copied(
    registry: RegistryServer, base: str, context: BuildContext, store: DirectImages
) -> None:
    put_runtime(registry, context.lock_file, base)
    registry.links = False
    said: list[str] = []

    store.build(context, said.append)

    assert registry.blobs[digest(LAYER)] == LAYER
    assert any("copied, since the registry links no layers" in line for line in said)


def test_two_deliveries_of_the_same_at_once_end_with_one_image(
    registry: RegistryServer, base: str, context: BuildContext
) -> None:
    put_runtime(registry, context.lock_file, base)
    built: list[ImageRef] = []

    def deliver() -> None:
        with closing(store_at(registry, base)) as store:
            built.append(store.build(context, quiet).ref)

    threads = [threading.Thread(target=deliver) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(built) == 2
    assert len(set(built)) == 1
    assert registry.tags[f"key-{built[0].key[:32]}"] == built[0].digest


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_an_interrupted_build_leaves_nothing_that_can_be_found_and_the_next_one_succeeds(
    method: str, registry: RegistryServer, base: str, context: BuildContext, store: DirectImages
) -> None:
    put_runtime(registry, context.lock_file, base)
    left = {"POST": 1, "PUT": 3}[method]

    def dies(asked: str, _path: str, usual: Answer) -> Answer:
        nonlocal left
        left -= asked == method
        return Answer(403) if left < 0 else usual

    registry.habit = dies
    with pytest.raises(ImageError, match="refused the credentials"):
        store.build(context, quiet)
    registry.habit = lambda _method, _path, usual: usual

    assert not [tag for tag in registry.tags if tag.startswith("key-")]
    assert store.find(store.key(context)) is None
    built = store.build(context, quiet)
    assert store.find(store.key(context)) == built.ref


def test_an_image_that_retention_is_about_to_delete_gets_another_digest_and_the_same_content(
    registry: RegistryServer, base: str, context: BuildContext
) -> None:
    put_runtime(registry, context.lock_file, base)
    clock = Clock()
    with closing(store_at(registry, base, clock=clock)) as store:
        first = store.build(context, quiet).ref
        registry.tags[deletion_tag(first.digest, clock())] = first.digest
        assert store.find(store.key(context)) is None

        second = store.build(context, quiet).ref
        registry.answer("DELETE", f"/v2/acme/banana/manifests/{first.digest}", {}, b"")

        assert second.digest != first.digest
        assert store.find(store.key(context)) == second
        assert store.rebuild(context, second, quiet).proven


def test_the_newest_image_is_the_one_that_was_built_last_although_no_date_is_in_it(
    registry: RegistryServer, base: str, tmp_path: Path
) -> None:
    sources, clock = Sources(tmp_path / "sources"), Clock()
    put_runtime(registry, sources.context().lock_file, base)
    with closing(store_at(registry, base, clock=clock)) as store:
        refs = [store.build(sources.context(name, model=name.encode()), quiet).ref for name in ("2", "3", "1")]
        clock.now += 7200
        assert store.resolve(refs[0].digest)  # Asked for, which makes it no newer.

        decisions = store.prune(1, tuple, dry_run=True)

    assert [one.ref for one in decisions] == refs[::-1]
    assert [one.keep for one in decisions] == [True, False, True]


def test_our_login_goes_to_no_registry_but_the_releases_own(
    registry: RegistryServer, context: BuildContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "nothing"))
    with serving(RegistryServer()) as other:
        base = put_base(other)
        put_runtime(registry, context.lock_file, base)
        for one in (registry, *registry.others):
            one.habit = lambda _method, _path, usual, one=one: (  # type: ignore[misc]
                usual if one.authorizations[-1] else Answer(401, b"", {"WWW-Authenticate": 'Basic realm="here"'})
            )
        tagged = f"{other.host}/library/python:3.11"
        with closing(store_at(registry, tagged, username="banana", password="right")) as store:
            built = store.build(context, quiet)

        assert store.key(context).base.startswith(base)
        assert built.ref.version == "7"
        assert {said for one in other.others for said in one.authorizations} == {""}


def test_a_base_image_that_is_not_there_is_named(registry: RegistryServer, base: str, context: BuildContext) -> None:
    with (
        closing(store_at(registry, f"{registry.host}/library/python:4")) as store,
        pytest.raises(ImageError, match=r"holds no image .*python:4; correct BANANA_BASE_IMAGE"),
    ):
        store.key(context)


def test_a_base_that_is_named_by_digest_is_looked_up_nowhere(context: BuildContext, tmp_path: Path) -> None:
    base = f"nowhere.example/python@sha256:{'1' * 64}"
    with closing(DirectImages("127.0.0.1:9/banana", dockerfile=DOCKERFILE, base_image=base)) as store:
        assert store.key(context).base.startswith(base)


def test_a_dockerfile_that_needs_an_engine_is_refused_before_anything_is_sent(
    registry: RegistryServer, base: str, context: BuildContext, tmp_path: Path
) -> None:
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(f"{DOCKERFILE.read_text()}RUN true\n")
    with (
        closing(store_at(registry, base, dockerfile=dockerfile)) as store,
        pytest.raises(ImageError, match="'RUN true', which cannot be carried out without an engine"),
    ):
        store.build(context, quiet)

    assert registry.asked["POST blobs"] == 0


def test_what_is_no_image_of_this_host_cannot_be_run_and_says_why(
    registry: RegistryServer, base: str, context: BuildContext, store: DirectImages
) -> None:
    put_runtime(registry, context.lock_file, base)
    ref = store.build(context, quiet).ref

    with pytest.raises(ImageError, match=r"cannot be run on this host \(it has no Python on its PATH\)"):
        store.self_test(ref)
    with pytest.raises(ImageError, match="cannot be run on this host"):
        store.installed(ref)


def test_an_image_runs_by_its_own_loader_and_sees_nothing_of_this_process(
    registry: RegistryServer, base: str, context: BuildContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loader is a script here, which says what it is given."""
    loader = b"#!/bin/sh\n" + b'echo "$@"; env; pwd; cat ../model/version.json\n'
    put_runtime(
        registry,
        context.lock_file,
        base,
        layers=(
            tar_of({"lib64/ld-linux-x86-64.so.2": loader, "opt/venv/bin/python": b"", "opt/venv/pyvenv.cfg": b""}),
            tar_of({"opt/venv/lib/python3.11/site-packages/x.py": b""}),
        ),
        layer_type="application/vnd.oci.image.layer.v1.tar",
    )
    monkeypatch.setenv("BANANA_SECRET", "of this process")
    folder = tmp_path / "unpacked"
    with closing(store_at(registry, base, unpacked=folder)) as store:
        ref = store.build(context, quiet).ref
        for _ in range(2):
            image = store._read(ref.digest)
            done = store._unpacked.run(image, ["-m", "serving.selftest"], {"IMAGE_DIGEST": ref.digest}, 10)
        blobs = registry.asked["GET blobs"]
        store._unpacked.run(image, ["-m", "serving.selftest"], {}, 10)

    (root,) = folder.iterdir()
    said = done.stdout.splitlines()
    assert said[0].endswith(f"{root}/opt/venv/bin/python -S -m serving.selftest")
    assert f"PYTHONPATH={root}/opt/venv/lib/python3.11/site-packages" in said
    assert f"IMAGE_DIGEST={ref.digest}" in said
    assert "PORT=8000" not in said, "only what the image's config says"
    assert any(line.startswith("MODEL_PATH=/") and line.endswith("/release/model/model.onnx") for line in said)
    assert "of this process" not in done.stdout
    assert any(line.endswith("/release/app") for line in said)
    assert '"version": "7"' in done.stdout
    # The runtime stays unpacked: only the release's own layers are fetched again.
    assert registry.asked["GET blobs"] - blobs == 3


def test_an_index_of_runtimes_stays_while_a_release_stands_on_one_of_them_and_goes_as_a_whole(
    registry: RegistryServer, base: str, store: DirectImages, tmp_path: Path
) -> None:
    locks = [tmp_path / name for name in ("old", "used", "newest")]
    for number, lock in enumerate(locks, start=1):
        lock.write_text(lock.name)
        put_runtime(registry, lock, base, index=lock.name != "newest", day=number)
    runtime = next(other for other in registry.others if other.path == "acme/banana-runtime")
    runtimes = RuntimeRepository(store._runtime_client)
    tags = [runtime_tag(DOCKERFILE.read_text(), lock, base, PLATFORM) for lock in locks]
    old, used, newest = (runtimes.find(tag, PLATFORM) for tag in tags)
    assert old
    assert used
    assert newest

    gone = runtimes.prune(lambda: {runtimes.pinned(used.digest)}, time.time())

    assert len(gone) == 2, "the index and its image"
    assert runtimes.pinned(old.digest) in gone
    assert old.digest not in runtime.manifests
    assert set(runtime.tags) == set(tags[1:])
    assert {used.digest, newest.digest} <= set(runtime.manifests)


def test_packages_that_a_record_vouches_for_are_taken_wherever_their_tag_leads(
    registry: RegistryServer, base: str, store: DirectImages, context: BuildContext, tmp_path: Path
) -> None:
    ours = put_runtime(registry, context.lock_file, base)
    other = put_runtime(registry, context.lock_file, base, day=2)
    runtime = next(one for one in registry.others if one.path == "acme/banana-runtime")
    (tag,) = runtime.tags
    said: list[str] = []

    def stands_on(digest: str) -> str:
        pinned = f"{registry.host}/acme/banana-runtime@{digest}" if digest else ""
        one = replace(context, vouched=lambda _key: pinned, anew=True)
        return store.labels(store.build(one, said.append).ref)["banana.runtime"].rpartition("@")[2]

    assert runtime.tags[tag] == other
    assert stands_on(ours) == ours
    assert runtime.tags[tag] == ours
    assert any("which no record of this pipeline vouches for" in line and "as before" in line for line in said)
    # The first one is what somebody put there; nothing can be built in its place.
    said.clear()
    assert stands_on("") == ours
    assert any("it is taken, since nothing is built here" in line for line in said)
    assert stands_on("sha256:" + "0" * 64) == ours


def test_the_setting_chooses_the_builder_and_contacts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(ImageError, match="BANANA_REGISTRY_REPOSITORY is empty"):
        direct_images(Settings(builder="registry"))

    settings = Settings(target="kubernetes", builder="registry", registry_repository="127.0.0.1:9/banana")
    with closing(registry_images(settings)) as store:
        assert isinstance(store, DirectImages)
    with closing(registry_images(settings.model_copy(update={"builder": "docker"}))) as store:
        assert isinstance(store, DockerImages)


def test_an_image_whose_layers_are_others_than_its_config_says_is_neither_believed_nor_run(
    registry: RegistryServer, base: str, context: BuildContext, tmp_path: Path
) -> None:
    loader = tar_of({"lib64/ld-linux-x86-64.so.2": b"#!/bin/sh\necho ran\n", "usr/bin/python": b""})
    put_runtime(registry, context.lock_file, base, layers=(loader,))
    with closing(store_at(registry, base, unpacked=tmp_path / "unpacked")) as store:
        ours = store.build(context, quiet).ref
        for place in range(4):
            manifest, _ = read(registry, ours)
            layers = manifest["layers"]
            assert isinstance(layers, list)
            layers[place] = registry._descriptor(gzip.compress(tar_of({f"app/miner{place}": b"mine"})))
            body = json.dumps(manifest).encode()
            registry.manifests[digest(body)] = body
            planted = ours.replace(digest=digest(body))

            with pytest.raises(ImageError, match="hold something else than its config says"):
                store.rebuild(context, planted, quiet)
            with pytest.raises(ImageError, match="something else than the image's config says"):
                store.self_test(planted)

        assert store.rebuild(context, ours, quiet).proven


def test_a_runtime_that_was_removed_by_half_is_not_taken_for_a_whole_one(
    registry: RegistryServer, base: str, context: BuildContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_runtime(registry, context.lock_file, base)
    folder = tmp_path / "unpacked"
    with closing(store_at(registry, base, unpacked=folder)) as store:
        image = store._read(store.build(context, quiet).ref.digest)
        with store._unpacked._root(image) as root:
            os.utime(root, (0, 0))

        def dies(path: Path) -> None:
            (Path(path) / "etc/os-release").unlink()
            raise KeyboardInterrupt

        monkeypatch.setattr(shutil, "rmtree", dies)
        with pytest.raises(KeyboardInterrupt):
            store._unpacked._tidy(folder / "another")
        monkeypatch.undo()

        with store._unpacked._root(image) as again:
            assert (again / "etc/os-release").read_bytes() == b"ID=test"


def test_a_helper_that_fails_for_the_registry_of_the_base_lets_the_base_be_asked_for_without_a_login(
    registry: RegistryServer, context: BuildContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "docker-credential-broken"
    helper.write_text("#!/bin/sh\necho locked\nexit 1\n")
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "broken"}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with serving(RegistryServer()) as other:
        base = put_base(other)
        tagged = f"{other.host}/library/python:3.11"
        with closing(store_at(registry, tagged, username="banana", password="right")) as store:
            assert store.key(context).base.startswith(base)


def test_a_self_test_that_cannot_run_is_no_failure_of_the_image(
    registry: RegistryServer, base: str, context: BuildContext, tmp_path: Path
) -> None:
    loader = b"#!/bin/sh\nexit 1\n"
    files = {"lib64/ld-linux-x86-64.so.2": loader, "usr/bin/python": b""}
    put_runtime(registry, context.lock_file, base, layers=(tar_of(files),))
    with closing(store_at(registry, base, unpacked=tmp_path / "unpacked")) as store:
        ref = store.build(context, quiet).ref
        with pytest.raises(SelfTestFailedError):
            store.self_test(ref)

        registry.habit = lambda _method, path, usual: Answer(503) if path.startswith("blobs") else usual
        with pytest.raises(ImageError) as away:
            store.self_test(ref)

    assert not isinstance(away.value, SelfTestFailedError)
