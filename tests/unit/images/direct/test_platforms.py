"""Releases for several platforms: one index, whose digest is the release."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from banana_delivery.errors import ImageError
from banana_delivery.images.base import BuildContext
from banana_delivery.images.direct.store import DirectImages
from banana_delivery.images.oci_registry.manifest import INDEX_TYPES
from banana_delivery.images.oci_registry.pins import deletion_tag
from banana_delivery.images.supply_chain.sbom import sbom
from banana_delivery.policy.model import ImageRef
from tests.contract.image_store_contract import Clock, quiet
from tests.support.runtime_image import BOTH, put_base, put_runtime, put_runtimes, tar_of
from tests.unit.images.direct.test_store import store_at
from tests.unit.images.oci_registry.registry_server import RegistryServer, digest


@pytest.fixture
def store(registry: RegistryServer, base: str) -> Iterator[DirectImages]:
    with closing(store_at(registry, base, platforms=BOTH)) as store:
        yield store


def parts(registry: RegistryServer, ref: ImageRef) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Manifest and config of each image of an index."""
    index = json.loads(registry.manifests[ref.digest])
    manifests = [json.loads(registry.manifests[one["digest"]]) for one in index["manifests"]]
    return [(one, json.loads(registry.blobs[one["config"]["digest"]])) for one in manifests]


def test_a_release_for_two_platforms_is_an_index_over_the_same_layers_on_two_runtimes(
    registry: RegistryServer, base: str, store: DirectImages, context: BuildContext
) -> None:
    runtime = put_runtimes(registry, context.lock_file, base, BOTH)
    said: list[str] = []

    built = store.build(context, said.append)

    index = json.loads(registry.manifests[built.ref.digest])
    assert (index["mediaType"], len(index["manifests"])) == (INDEX_TYPES[1], 2)
    assert [one["platform"]["architecture"] for one in index["manifests"]] == ["amd64", "arm64"]
    (first, its), (second, others) = parts(registry, built.ref)
    assert (its["architecture"], others["architecture"]) == ("amd64", "arm64")
    assert first["layers"][-3:] == second["layers"][-3:]
    assert its["config"] == others["config"], "they say the same of themselves"
    assert its["config"]["Labels"]["banana.runtime"].endswith(f"/acme/banana-runtime@{runtime}")
    assert built.layers_new == ("code", "model", "version")
    assert set(built.layers_reused) == {"linux/amd64 runtime 1", "linux/arm64 runtime 1"}
    assert any("linux/arm64: written, and run by nobody yet" in line for line in said)
    assert registry.tags[f"key-{built.ref.key[:32]}"] == built.ref.digest
    assert store.rebuild(context, built.ref, quiet).proven


def test_the_order_of_platforms_and_the_registry_change_no_digest_and_the_choice_of_them_does(
    registry: RegistryServer, base: str, store: DirectImages, context: BuildContext
) -> None:
    put_runtimes(registry, context.lock_file, base, BOTH)
    ref = store.build(context, quiet).ref
    written = dict(registry.manifests)
    registry.manifests.clear()
    registry.tags.clear()
    registry.blobs.clear()

    with closing(store_at(registry, base, platforms=BOTH[::-1], clock=Clock(2e9))) as other:
        assert other.build(context, quiet).ref == ref
    assert registry.manifests == written
    with closing(store_at(registry, base)) as one, closing(store_at(registry, base, platforms=BOTH[:1])) as same:
        assert one.key(context) == same.key(context)
        alone = one.build(context, quiet).ref
        assert alone.key != ref.key
        assert same.find(same.key(context)) == alone
        assert one.labels(alone)["banana.runtime"] != store.labels(ref)["banana.runtime"]


def test_a_host_that_none_of_the_images_is_for_says_so(
    registry: RegistryServer, base: str, store: DirectImages, context: BuildContext
) -> None:
    put_runtimes(registry, context.lock_file, base, BOTH)
    ref = store.build(context, quiet).ref

    with closing(store_at(registry, base, platform="linux/s390x")) as elsewhere:
        assert elsewhere.resolve(ref.digest) == ref
        for ask in (elsewhere.self_test, elsewhere.installed):
            with pytest.raises(ImageError, match=r"is for linux/amd64 and linux/arm64, and this host is linux/s390x"):
                ask(ref)
    # Where one of them is, that one is taken: this one has no Python.
    with pytest.raises(ImageError, match="it has no Python on its PATH"):
        store.self_test(ref)


def test_what_is_tested_and_looked_into_is_the_image_for_this_host_and_bears_the_digest_of_the_index(
    registry: RegistryServer, base: str, store: DirectImages, context: BuildContext
) -> None:
    """The loader is a script here, which says what Python would."""
    inside = '{"python": "3.11.2", "packages": [["numpy", "2.0.0"]], "dpkg": "", "os_release": "ID=test"}'
    tested = r"{\"digest\": \"$IMAGE_DIGEST\", \"model_version\": \"7\"}"
    loader = f"#!/bin/sh\ncase $* in *selftest) echo \"{tested}\";; *) echo '{inside}';; esac\n".encode()
    files = tar_of({"lib64/ld-linux-x86-64.so.2": loader, "usr/bin/python": b""})
    put_runtimes(registry, context.lock_file, base, BOTH, layers=(files,))
    ref = store.build(context, quiet).ref

    installed = store.installed(ref)

    assert store.self_test(ref) == {"digest": ref.digest, "model_version": "7"}
    assert (installed.platform, installed.packages[0].name) == ("linux/amd64", "numpy")
    bill = json.loads(sbom(ref, store.labels(ref), installed, "detector").content)
    assert bill["metadata"]["component"]["properties"] == [{"name": "banana:platform", "value": "linux/amd64"}]
    with closing(store_at(registry, base)) as alone:
        assert alone.installed(alone.build(context, quiet).ref).platform == ""


def test_packages_that_are_there_for_one_platform_alone_are_one_sentence_that_says_how_to_get_both(
    registry: RegistryServer, base: str, store: DirectImages, context: BuildContext
) -> None:
    for platform in BOTH:
        with pytest.raises(ImageError) as refusal:
            store.build(context, quiet)
        said = str(refusal.value)
        assert "is not there, as one index for linux/amd64 and linux/arm64; put it together once" in said
        assert "--platform linux/amd64,linux/arm64 --target runtime" in said
        assert said.count(f" --tag {registry.host}/acme/banana-runtime:lock-") == 2
        put_runtime(registry, context.lock_file, base, platform=platform)
    with pytest.raises(ImageError, match="as one index"):  # One image under each tag are two.
        store.build(context, quiet)
    assert not registry.manifests


def test_an_image_of_another_content_under_one_platform_is_no_rebuild(
    registry: RegistryServer, base: str, store: DirectImages, context: BuildContext
) -> None:
    put_runtimes(registry, context.lock_file, base, BOTH)
    ours = store.build(context, quiet).ref
    index = json.loads(registry.manifests[ours.digest])
    _, (manifest, config) = parts(registry, ours)
    config["config"]["Cmd"] = ["miner"]
    manifest["config"] = {**manifest["config"], **registry._descriptor(json.dumps(config).encode())}
    index["manifests"][1]["digest"] = put(registry, manifest)
    planted = ours.replace(digest=put(registry, index))

    assert store.peek(planted.digest) == planted, "its labels are those of the other"
    parity = store.rebuild(context, planted, quiet)

    assert not parity.proven
    assert not parity.only_below
    assert parity.differences == ("linux/arm64: Cmd was ['miner'] and is now ['python', '-m', 'serving']",)
    alone = ours.replace(digest=index["manifests"][0]["digest"])
    assert store.rebuild(context, alone, quiet).differences == ("linux/arm64 was not there and is now",)


@pytest.mark.parametrize("doomed", ["the index", "one of its images"])
def test_a_release_that_retention_is_about_to_delete_in_part_gets_other_digests_throughout(
    doomed: str, registry: RegistryServer, base: str, context: BuildContext
) -> None:
    put_runtimes(registry, context.lock_file, base, BOTH)
    clock = Clock()
    with closing(store_at(registry, base, clock=clock, platforms=BOTH)) as store:
        first = store.build(context, quiet).ref
        every = set(registry.manifests)
        gone = first.digest if doomed == "the index" else min(every - {first.digest})
        registry.tags[deletion_tag(gone, clock())] = gone

        second = store.build(replace(context, anew=True), quiet).ref
        for one in every:
            registry.answer("DELETE", f"/v2/acme/banana/manifests/{one}", {}, b"")

        assert second.digest != first.digest
        assert store.find(store.key(context)) == second
        assert len(parts(registry, second)) == 2
        assert store.rebuild(context, second, quiet).proven


def test_packages_that_a_record_vouches_for_are_taken_wherever_the_tags_lead_and_for_one_platform_too(
    registry: RegistryServer, base: str, store: DirectImages, context: BuildContext
) -> None:
    ours = put_runtimes(registry, context.lock_file, base, BOTH)
    runtime = next(one for one in registry.others if one.path == "acme/banana-runtime")
    tags = dict(runtime.tags)
    for day, platform in enumerate(BOTH, start=2):
        put_runtime(registry, context.lock_file, base, platform=platform, day=day, index=True)
    pinned = f"{registry.host}/acme/banana-runtime@{ours}"
    vouching = replace(context, vouched=lambda _: pinned, anew=True)

    assert store.labels(store.build(vouching, quiet).ref)["banana.runtime"] == pinned

    put_runtimes(registry, context.lock_file, put_base(registry), BOTH)  # Of another base: not looked at.
    runtime.tags |= dict.fromkeys(tags, put_other(runtime, ours))
    said: list[str] = []
    assert store.labels(store.build(vouching, said.append).ref)["banana.runtime"] == pinned
    assert any("which no record of this pipeline vouches for" in line and "as before" in line for line in said)
    assert {tag: runtime.tags[tag] for tag in tags} == tags
    with closing(store_at(registry, base)) as alone:
        label = alone.labels(alone.build(vouching, quiet).ref)["banana.runtime"]
    amd = json.loads(runtime.manifests[ours])["manifests"][1]["digest"]
    assert label == f"{registry.host}/acme/banana-runtime@{amd}"


def put(registry: RegistryServer, document: dict[str, Any]) -> str:
    body = json.dumps(document).encode()
    registry.manifests[digest(body)] = body
    return digest(body)


def put_other(registry: RegistryServer, index: str) -> str:
    """An index over the same images that nobody vouches for."""
    return put(registry, {**json.loads(registry.manifests[index]), "annotations": {"by": "somebody"}})
