"""A store that reads for itself and has the rest written by a Job, whose program, registry and key are real here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from banana_delivery import bundle
from banana_delivery.delivery.signing.images import refuse_unsigned
from banana_delivery.delivery.signing.publication import publish
from banana_delivery.delivery.signing.statements import PROVENANCE, SBOM, VERDICT
from banana_delivery.errors import BadSettingsError, ImageError
from banana_delivery.images.base import BuildContext
from banana_delivery.images.direct.store import DirectImages
from banana_delivery.images.oci_registry import pins
from banana_delivery.images.supply_chain.attachments import Attachment, AttachmentKind
from banana_delivery.images.supply_chain.keys import signing_key
from banana_delivery.images.supply_chain.publication import Publication
from banana_delivery.images.supply_chain.signatures import statements
from banana_delivery.names import MLFLOW_RUN_LABEL
from banana_delivery.platforms import registry_images
from banana_delivery.publishing.store import ApartImages
from banana_delivery.settings import Settings
from tests.contract.image_store_contract import Clock, Sources, quiet
from tests.support.runtime_image import BOTH, put_base, put_runtime, put_runtimes
from tests.support.signing_keys import key_pair
from tests.unit.images.direct.test_store import store_at
from tests.unit.images.oci_registry.registry_server import Answer, RegistryServer, digest, serving
from tests.unit.publishing.pod import Pod, container, program

WRITING = ("PUT", "POST", "PATCH", "DELETE")


@dataclass
class Scene:
    """A registry with a runtime image, the store of a delivery, and the pod that writes.

    Attributes:
        registry: it has a login for each of them.
        store: of the delivery.
        pod: makes the Jobs.
        context: a release to build.
        key: signs, and is the pod's.
        settings: of the delivery, with the half that verifies.
        clock: everybody's.
    """

    registry: RegistryServer
    store: ApartImages
    pod: Pod
    context: BuildContext
    key: Path
    settings: Settings
    clock: Clock

    @property
    def orders(self) -> int:
        return len(self.pod.jobs)


def only_for_writers(registry: RegistryServer) -> None:
    """From now on whoever writes needs the writer's login; a reader's is refused, as registries do."""

    def habit(method: str, path: str, usual: Answer) -> Answer:
        del path
        login = registry.authorizations[-1] if registry.authorizations else ""
        allowed = login == WRITER or (method not in WRITING and login == READER)
        if allowed:
            return usual
        return Answer(401 if not login else 403, b"", {} if login else {"WWW-Authenticate": 'Basic realm="here"'})

    registry.habit = habit


READER, WRITER = "Basic cmVhZGVyOnJlYWRlcnMtd29yZA==", "Basic d3JpdGVyOndyaXRlcnMtd29yZA=="


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    key, public = key_pair(tmp_path, "ours")
    clock = Clock()
    context = replace(
        Sources(tmp_path / "sources").context("7"),
        code_directory=bundle.SERVING_CODE,
        lock_file=bundle.serving_lock("cpu"),
        labels={MLFLOW_RUN_LABEL: "run-7"},
    )
    with serving(RegistryServer()) as registry:
        base = put_base(registry)
        put_runtime(registry, context.lock_file, base)
        settings = Settings(home=tmp_path / "pod", cosign_key=key)
        home = tmp_path / "home"
        writes = program(
            lambda: store_at(registry, base, clock=clock, username="writer", password="writers-word"),
            settings,
            monkeypatch,
        )
        pod = Pod(home, writes)
        store = apart(registry, base, pod, clock)
        only_for_writers(registry)
        with closing(store):
            yield Scene(registry, store, pod, context, key, Settings(home=home, cosign_public_key=public), clock)


def apart(registry: RegistryServer, base: str, pod: Pod, clock: Clock, platforms: tuple[str, ...] = ()) -> ApartImages:
    like: DirectImages = store_at(registry, base)
    with closing(like):
        return ApartImages(
            f"{registry.host}/acme/banana",
            publisher=pod.publisher,
            dockerfile=like._dockerfile,
            base_image=base,
            platform=like._platform,
            platforms=platforms,
            retries=like._retries,
            clock=clock,
            username="reader",
            password="readers-word",
        )


def test_an_image_is_written_and_named_by_the_job_and_read_by_the_delivery(scene: Scene) -> None:
    built = scene.store.build(scene.context, quiet)

    assert built.layers_new == ("code", "model", "version")
    assert scene.store.labels(built.ref)[MLFLOW_RUN_LABEL] == "run-7"
    assert {"7", "latest"} <= scene.store.tags(built.ref)
    assert scene.orders == 1
    scene.store.tag(built.ref, {"7", "latest"})
    assert scene.orders == 1, "it points there already"
    scene.store.tag(built.ref, {"stable"})
    assert scene.store.peek("stable") == built.ref
    assert scene.orders == 2
    assert not list(scene.pod.home.rglob("order.json")), "nothing of an order stays in the home"


def test_the_login_of_the_delivery_cannot_write(scene: Scene) -> None:
    ref = scene.store.build(scene.context, quiet).ref

    with pytest.raises(ImageError, match="denied"):
        DirectImages.tag(scene.store, ref, {"stable"})
    with pytest.raises(ImageError, match="denied"):
        DirectImages.attach(scene.store, ref, AttachmentKind.SBOM, [Attachment(b"{}", "application/json")])


def test_what_is_found_is_leased_by_the_job(scene: Scene) -> None:
    ref = scene.store.build(scene.context, quiet).ref
    before = pins.pinned_at(scene.registry.tags)
    scene.clock.now += 7200.0

    assert scene.store.find(scene.store.key(scene.context)) == ref
    assert pins.pinned_at(scene.registry.tags) > before
    assert scene.store.peek("7") == ref
    assert scene.orders == 2, "looking orders nothing"


def test_the_key_is_with_the_job_and_what_it_signs_may_be_deployed(scene: Scene) -> None:
    ref = scene.store.build(scene.context, quiet).ref
    bill = json.dumps({"bomFormat": "CycloneDX"})

    done = publish(
        scene.store, scene.settings, Publication(ref=ref, bill=bill, said={PROVENANCE: {"by": "us"}}, sign=True)
    )
    publish(scene.store, scene.settings, Publication(ref=ref, said={VERDICT: {"verdict": "pass"}}))

    refuse_unsigned(scene.store, ref, scene.settings)
    assert (done.signed_by, done.bill_trouble) == (signing_key(scene.key).name, "")
    there = scene.store.attached(ref, AttachmentKind.ATTESTATION)
    assert {kind for kind, _ in statements(ref, there, signing_key(scene.key).public)} == {SBOM, PROVENANCE, VERDICT}


def test_old_images_go_by_the_job_and_what_is_in_use_stays(scene: Scene, tmp_path: Path) -> None:
    refs = []
    for version in ("7", "8", "9"):
        other = Sources(tmp_path / version).context(version, model=version.encode())
        context = replace(scene.context, model_directory=other.model_directory, version=version)
        refs.append(scene.store.build(context, quiet).ref)
        scene.clock.now += 7200.0
    orders = scene.orders

    shown = scene.store.prune(1, lambda: [refs[0].digest], dry_run=True)
    assert [one.ref.version for one in shown if not one.keep] == ["8"]
    assert scene.orders == orders
    gone = scene.store.prune(1, lambda: [refs[0].digest], dry_run=False)
    assert [one.ref.version for one in gone if not one.keep] == ["8"]
    assert scene.store.peek(refs[1].digest) is None
    assert scene.store.peek(refs[0].digest) == refs[0]


def put_other_code(scene: Scene) -> str:
    """Have another image written where the delivery ordered one; returns its digest."""
    altered = scene.pod.home.parent / "altered"
    altered.mkdir()
    (altered / "__init__.py").write_text("import evil\n")
    base = scene.store._base_image
    with closing(store_at(scene.registry, base, username="writer", password="writers-word")) as writer:
        return writer.build(replace(scene.context, code_directory=altered, anew=True), quiet).ref.digest


def test_a_job_that_was_taken_over_has_no_other_image_released(scene: Scene) -> None:
    def lies(folder: Path) -> int:
        (folder / "answer.json").write_text(json.dumps({"digest": put_other_code(scene), "sent": ["code"]}))
        return 0

    scene.pod.work = lies
    with pytest.raises(ImageError, match="not what its inputs give"):
        scene.store.build(scene.context, quiet)


def links(folder: Path) -> int:
    (folder / "answer.json").symlink_to("/etc/passwd")
    return 0


def complains(folder: Path) -> int:
    (folder / "output.log").write_text("Traceback\nregistry.test does not answer\n")
    return 1


@pytest.mark.parametrize(
    ("work", "why"),
    [
        (complains, r"exit code 1: registry\.test does not answer"),
        (lambda _: -9, "was ended by signal 9, for want of memory, .* try again"),
        (lambda _: 0, "answered what it should not"),
        (links, "answered what it should not"),
        (lambda folder: (folder / "answer.json").write_text('{"digest": 7}') and 0, "answered what it should not"),
        (lambda folder: (folder / "answer.json").write_text("{}") and 0, "holds no image"),
    ],
)
def test_however_the_job_ends_the_delivery_is_an_error_that_says_why(scene: Scene, work: Any, why: str) -> None:
    scene.pod.work = work
    with pytest.raises(ImageError, match=why):
        scene.store.build(scene.context, quiet)


def test_the_job_is_the_template_with_one_folder_of_the_home(scene: Scene) -> None:
    scene.store.build(scene.context, quiet)
    (job,) = scene.pod.jobs
    template = scene.pod.get(f"/podtemplates/{scene.pod.publisher.jobs.template}")
    assert template
    (its,) = template["template"]["spec"]["containers"]
    *known, added = container(job)["volumeMounts"]
    assert {**container(job), "volumeMounts": known} == its
    assert added["subPath"].startswith("artifacts/detector/tmp-publishing-")


def test_two_builders_or_two_signers_are_refused_in_a_sentence(tmp_path: Path) -> None:
    named = Settings(home=tmp_path, target="kubernetes", registry_repository="r.test/b", publisher_template="mine")
    with pytest.raises(BadSettingsError, match="set BANANA_BUILDER=registry"):
        registry_images(named)
    here = named.model_copy(update={"builder": "registry"})
    assert isinstance(registry_images(here), ApartImages)
    with pytest.raises(BadSettingsError, match="BANANA_COSIGN_KEY"):
        registry_images(here.model_copy(update={"cosign_key": tmp_path / "key"}))


def test_the_digest_of_what_was_doomed_is_another_and_is_known(scene: Scene) -> None:
    ref = scene.store.build(scene.context, quiet).ref
    scene.registry.tags[pins.deletion_tag(ref.digest, scene.clock())] = ref.digest

    again = scene.store.build(replace(scene.context, anew=True), quiet).ref

    assert again.digest != ref.digest == digest(scene.registry.manifests[ref.digest])


def test_a_name_for_people_is_waited_for_shortly_since_others_wait_for_production(scene: Scene) -> None:
    ref = scene.store.build(scene.context, quiet).ref
    scene.pod.looks = {"phase": "Pending", "conditions": [{"message": "no room"}]}

    with pytest.raises(ImageError, match=r"within 120 s \(no room\)"):
        scene.store.tag(ref, {"stable"})
    with pytest.raises(ImageError, match=r"within 1200 s \(no room\)"):
        publish(scene.store, scene.settings, Publication(ref=ref, sign=True))


def test_a_release_for_two_platforms_has_to_be_the_index_that_its_inputs_give(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, login = scene.store._base, {"username": "writer", "password": "writers-word"}
    put_runtimes(scene.registry, scene.context.lock_file, base, BOTH)

    def written_for(*platforms: str) -> None:
        store = lambda: store_at(scene.registry, base, clock=scene.clock, platforms=platforms, **login)  # noqa: E731
        settings = Settings(home=tmp_path / "pod", cosign_key=scene.key)
        scene.pod.work = program(store, settings, monkeypatch)

    with closing(apart(scene.registry, base, scene.pod, scene.clock, BOTH)) as store:
        written_for(*BOTH)
        ref = store.build(scene.context, quiet).ref
        assert [one.platform for one in store._read(ref.digest).parts] == list(BOTH)
        assert publish(store, scene.settings, Publication(ref=ref, sign=True)).signed_by
        refuse_unsigned(store, ref, scene.settings)

        written_for(BOTH[0])
        with pytest.raises(ImageError, match="is not what its inputs give, and is not released"):
            store.build(replace(scene.context, anew=True), quiet)
