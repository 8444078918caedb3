"""What every image store keeps to, whatever it is made of; subclasses give it a store."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from banana_delivery.errors import ImageError, TargetError
from banana_delivery.images.base import BuildContext, BuiltImage, ImageStore
from banana_delivery.images.supply_chain.attachments import Attachment, AttachmentKind
from banana_delivery.policy.model import ImageRef

HOUR = 3600.0


@dataclass
class Clock:
    """A clock that moves only when told to, so that leases run out without waiting."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        self.now += 1  # Two images are never built at the same moment.
        return self.now


@dataclass
class Sources:
    """Makes build contexts of small files."""

    root: Path
    lock: str = "numpy==2.0.0\n"
    made: int = field(default=0)
    salt: str = ""  # A registry mounts layers that any test pushed before; a salt makes them new.

    def context(self, version: str = "1", *, code: str = "VALUE = 1\n", model: bytes = b"weights") -> BuildContext:
        self.made += 1
        directory = self.root / str(self.made)
        (directory / "serving" / "__pycache__").mkdir(parents=True)
        (directory / "serving" / "__init__.py").write_text(code + (f"# {self.salt}\n" if self.salt else ""))
        (directory / "serving" / "__pycache__" / "x.pyc").write_bytes(self.made.to_bytes(4, "big"))
        (directory / "model").mkdir()
        (directory / "model" / "model.onnx").write_bytes(model + self.salt.encode())
        (directory / "model" / "version.json").write_text(json.dumps({"version": version, "salt": self.salt}))
        (directory / "lock.txt").write_text(self.lock)
        return BuildContext(
            model_directory=directory / "model",
            code_directory=directory / "serving",
            lock_file=directory / "lock.txt",
            version=version,
            labels={"banana.mlflow.run": "run-" + version},
        )


def nobody() -> Collection[str]:
    return ()


def quiet(line: str) -> None:
    assert line


class ImageStoreContract:
    """The suite."""

    @pytest.fixture
    def sources(self, tmp_path: Path) -> Sources:
        return Sources(tmp_path / "sources")

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def store(self, tmp_path: Path, clock: Clock) -> ImageStore:
        raise NotImplementedError

    def build(self, store: ImageStore, context: BuildContext) -> BuiltImage:
        return store.build(context, quiet)

    def versions(self, store: ImageStore, sources: Sources, count: int) -> list[ImageRef]:
        """Images of so many versions, oldest first."""
        contexts = [sources.context(str(number), model=b"weights %d" % number) for number in range(1, count + 1)]
        return [self.build(store, context).ref for context in contexts]

    def test_nothing_is_found_before_anything_was_built(self, store: ImageStore, sources: Sources) -> None:
        assert store.find(store.key(sources.context())) is None
        assert store.resolve("latest") is None
        assert store.prune(1, nobody, dry_run=False) == []

    def test_an_image_is_found_by_the_key_it_was_built_for(self, store: ImageStore, sources: Sources) -> None:
        context = sources.context("7")

        built = self.build(store, context)

        assert built.ref.version == "7"
        assert built.ref.key == store.key(context).sha256
        assert store.find(store.key(context)) == built.ref

    def test_an_image_says_itself_what_it_is(self, store: ImageStore, sources: Sources) -> None:
        context = sources.context("7")
        ref = self.build(store, context).ref

        labels = store.labels(ref)

        assert labels["banana.version"] == "7"
        assert labels["org.opencontainers.image.licenses"] == "AGPL-3.0-or-later"
        assert labels["banana.key"] == ref.key
        assert labels["banana.model.sha256"] == store.key(context).model
        assert labels["banana.mlflow.run"] == "run-7"
        # Whatever was recorded of it elsewhere.
        assert store.labels(ref.replace(version="8", key="another")) == labels

    def test_an_image_of_another_repository_is_refused_even_with_a_digest_of_ours(
        self, store: ImageStore, sources: Sources
    ) -> None:
        ref = self.build(store, sources.context()).ref

        with pytest.raises(ImageError, match=r"registry\.evil\.example/miner@sha256:.* is not an image of"):
            store.labels(ref.replace(repository="registry.evil.example/miner"))

    def test_the_labels_of_an_image_that_is_not_here_cannot_be_read(self, store: ImageStore, sources: Sources) -> None:
        ref = self.build(store, sources.context()).ref

        with pytest.raises(ImageError, match="holds no image"):
            store.labels(ref.replace(digest=f"sha256:{'0' * 64}"))

    def test_equal_contexts_in_different_places_give_the_same_digest_and_write_nothing(
        self, store: ImageStore, sources: Sources
    ) -> None:
        first = self.build(store, sources.context("1"))
        second = self.build(store, sources.context("1"))

        assert second.ref == first.ref
        assert (second.layers_new, second.new_bytes) == ((), 0)

    @pytest.mark.parametrize(("change", "layer"), [({"code": "VALUE = 2\n"}, "code"), ({"model": b"other"}, "model")])
    def test_what_changed_is_the_only_new_layer(
        self, store: ImageStore, sources: Sources, change: dict[str, str], layer: str
    ) -> None:
        first = self.build(store, sources.context())
        second = self.build(store, sources.context(**change))  # type: ignore[arg-type]

        assert second.ref.digest != first.ref.digest
        assert second.layers_new == (layer,)
        assert set(second.layers_reused) >= {"code", "model", "version"} - {layer}
        assert 0 < second.new_bytes < second.size_bytes

    def test_a_second_version_reuses_the_code(self, store: ImageStore, sources: Sources) -> None:
        self.build(store, sources.context("1"))
        second = self.build(store, sources.context("2", model=b"better"))

        assert set(second.layers_new) == {"model", "version"}
        assert "code" in second.layers_reused

    def test_a_tag_moves_to_the_image_that_got_it_last(self, store: ImageStore, sources: Sources) -> None:
        first, second = self.versions(store, sources, 2)

        store.tag(first, ["1", "latest"])
        store.tag(second, ["2", "latest"])

        assert store.resolve("latest") == second
        assert store.resolve("1") == first
        assert store.tags(first) == {"1"}
        assert store.tags(second) == {"2", "latest"}

    def test_a_digest_still_names_the_tested_image_after_its_tag_was_moved(
        self, store: ImageStore, sources: Sources
    ) -> None:
        tested, intruder = self.versions(store, sources, 2)
        store.tag(tested, ["latest"])

        store.tag(intruder, ["latest"])

        assert store.resolve(tested.digest) == tested

    def test_building_again_keeps_the_tags(self, store: ImageStore, sources: Sources) -> None:
        built = self.build(store, sources.context())
        store.tag(built.ref, ["stable"])

        self.build(store, sources.context())

        assert store.tags(built.ref) == {"stable"}

    def test_a_tag_that_no_registry_accepts_is_refused(self, store: ImageStore, sources: Sources) -> None:
        built = self.build(store, sources.context())

        with pytest.raises(ImageError, match="cannot be an image tag"):
            store.tag(built.ref, ["fine", "not fine"])

        assert store.tags(built.ref) == frozenset()

    def test_an_image_that_does_not_exist_cannot_be_tagged(self, store: ImageStore, sources: Sources) -> None:
        built = self.build(store, sources.context())
        unknown = built.ref.replace(digest="sha256:" + "0" * 64)

        with pytest.raises(ImageError, match="sha256:0000"):
            store.tag(unknown, ["latest"])

    def test_a_missing_model_is_one_sentence_and_leaves_nothing(self, store: ImageStore, sources: Sources) -> None:
        context = sources.context()
        (context.model_directory / "model.onnx").unlink()

        with pytest.raises(ImageError, match=r"model\.onnx .* is missing"):
            self.build(store, context)

        assert store.prune(1, nobody, dry_run=True) == []

    def test_no_pickle_is_inside_unless_one_was_put_there(self, store: ImageStore, sources: Sources) -> None:
        clean, dirty = sources.context(), sources.context()
        (dirty.code_directory / "weights.bin").write_bytes(b"\x80\x04K\x01.")

        assert store.pickles_inside(self.build(store, clean).ref) == ()
        assert store.pickles_inside(self.build(store, dirty).ref) == ("app/serving/weights.bin",)

    def test_retention_keeps_the_newest_the_used_and_the_stable(
        self, store: ImageStore, sources: Sources, clock: Clock
    ) -> None:
        stable, used, old, newest = self.versions(store, sources, 4)
        store.tag(stable, ["stable"])
        clock.now += 2 * HOUR

        decisions = {decision.ref: decision for decision in store.prune(1, lambda: {used.digest}, dry_run=False)}

        assert {ref for ref, decision in decisions.items() if decision.keep} == {stable, used, newest}
        assert "stable" in decisions[stable].reason
        assert "environment" in decisions[used].reason
        assert "newest" in decisions[newest].reason
        assert decisions[old].freed_bytes > 0
        assert store.resolve(old.digest) is None
        assert [store.resolve(ref.digest) for ref in (stable, used, newest)] == [stable, used, newest]

    def test_a_dry_run_says_the_same_and_removes_nothing(
        self, store: ImageStore, sources: Sources, clock: Clock
    ) -> None:
        self.versions(store, sources, 3)
        clock.now += 2 * HOUR

        said = store.prune(1, nobody, dry_run=True)
        assert store.prune(1, nobody, dry_run=True) == said
        assert [decision.keep for decision in said] == [True, False, False]
        assert store.prune(1, nobody, dry_run=False) == said

    def test_what_was_just_found_is_safe_from_retention(
        self, store: ImageStore, sources: Sources, clock: Clock
    ) -> None:
        contexts = [sources.context(version, model=version.encode()) for version in "12"]
        for context in contexts:
            self.build(store, context)
        clock.now += 2 * HOUR
        found = store.find(store.key(contexts[0]))

        decisions = store.prune(1, nobody, dry_run=False)

        assert all(decision.keep for decision in decisions)
        assert found is not None
        assert store.resolve(found.digest) == found

    def test_who_only_looks_keeps_nothing_from_retention(
        self, store: ImageStore, sources: Sources, clock: Clock
    ) -> None:
        assert store.peek("latest") is None
        old, new = self.versions(store, sources, 2)
        store.tag(new, {"latest"})
        clock.now += 2 * HOUR

        assert [store.peek(one) for one in (old.digest, new.digest, "latest", "none")] == [old, new, new, None]

        assert [decision.keep for decision in store.prune(1, nobody, dry_run=False)] == [True, False]
        assert store.peek(old.digest) is None

    def test_an_image_asked_for_while_retention_decides_is_withheld_or_kept(
        self, store: ImageStore, sources: Sources, clock: Clock
    ) -> None:
        contexts = [sources.context(version, model=version.encode()) for version in "12"]
        for context in contexts:
            self.build(store, context)
        clock.now += 2 * HOUR
        given: list[ImageRef | None] = []

        def ask_meanwhile() -> Collection[str]:
            given.append(store.find(store.key(contexts[0])))
            return ()

        store.prune(1, ask_meanwhile, dry_run=False)

        for ref in given:
            assert ref is None or store.resolve(ref.digest) == ref

    def test_an_image_taken_into_use_right_before_its_removal_stays(
        self, store: ImageStore, sources: Sources, clock: Clock
    ) -> None:
        old, _ = self.versions(store, sources, 2)
        clock.now += 2 * HOUR
        answers: list[Collection[str]] = [(), {old.digest}]
        asked = iter(answers)

        decisions = store.prune(1, lambda: next(asked), dry_run=False)

        assert all(decision.keep for decision in decisions)
        assert store.resolve(old.digest) == old

    @pytest.mark.parametrize("broken_off_by", [TargetError("Production is away."), KeyboardInterrupt()])
    def test_an_image_whose_removal_is_broken_off_is_still_given_to_whoever_asks(
        self, store: ImageStore, sources: Sources, clock: Clock, broken_off_by: BaseException
    ) -> None:
        old, _ = self.versions(store, sources, 2)
        clock.now += 2 * HOUR
        asked: list[bool] = []

        def answer_once() -> Collection[str]:
            if asked:
                raise broken_off_by
            asked.append(True)
            return ()

        with pytest.raises(type(broken_off_by)):
            store.prune(1, answer_once, dry_run=False)

        assert store.resolve(old.digest) == old

    def test_a_removed_image_can_be_built_again(self, store: ImageStore, sources: Sources, clock: Clock) -> None:
        context = sources.context("1")
        self.build(store, context)
        self.build(store, sources.context("2", model=b"2"))
        clock.now += 2 * HOUR
        store.prune(1, nobody, dry_run=False)
        assert store.find(store.key(context)) is None

        again = self.build(store, context)

        assert store.find(store.key(context)) == again.ref

    def test_a_rebuild_from_the_same_inputs_proves_parity(self, store: ImageStore, sources: Sources) -> None:
        built = self.build(store, sources.context("1"))

        assert store.rebuild(sources.context("1"), built.ref, quiet).differences == ()

    def test_a_rebuild_from_other_inputs_says_what_differs(self, store: ImageStore, sources: Sources) -> None:
        built = self.build(store, sources.context("1"))

        parity = store.rebuild(sources.context("1", code="VALUE = 2\n"), built.ref, quiet)

        assert not parity.proven
        said = " ".join(parity.differences)
        assert "layer code" in said
        assert "layer model" not in said
        assert store.find(store.key(sources.context("1", code="VALUE = 2\n"))) is None

    def test_documents_beside_an_image_are_read_back_and_replaced_kind_by_kind(
        self, store: ImageStore, sources: Sources
    ) -> None:
        first, second = self.versions(store, sources, 2)
        bill, other = Attachment(b"bill", "text/x-bill"), Attachment(b"other", "text/x-other", {"note": "1"})
        assert store.attached(first, AttachmentKind.SBOM) == ()

        store.attach(first, AttachmentKind.SBOM, [Attachment(b"older", "text/x-bill")])
        store.attach(first, AttachmentKind.SBOM, [bill])
        store.attach(first, AttachmentKind.ATTESTATION, [bill, other])

        assert store.attached(first, AttachmentKind.SBOM) == (bill,)
        assert store.attached(first, AttachmentKind.ATTESTATION) == (bill, other)
        assert store.attached(first, AttachmentKind.SIGNATURE) == ()
        assert store.attached(second, AttachmentKind.SBOM) == ()

    def test_documents_change_nothing_about_the_image_itself(self, store: ImageStore, sources: Sources) -> None:
        context = sources.context("1")
        built = self.build(store, context)
        store.tag(built.ref, ["1"])

        store.attach(built.ref, AttachmentKind.SIGNATURE, [Attachment(b"signed", "text/plain")])

        assert store.tags(built.ref) == {"1"}
        assert store.find(store.key(context)) == built.ref
        assert self.build(store, context).ref == built.ref
        store.tag(built.ref, ["2"])
        assert [part.content for part in store.attached(built.ref, AttachmentKind.SIGNATURE)] == [b"signed"]
        assert [decision.ref for decision in store.prune(1, nobody, dry_run=True)] == [built.ref]

    def test_documents_go_with_their_image_and_stay_with_the_others(
        self, store: ImageStore, sources: Sources, clock: Clock
    ) -> None:
        context = sources.context("1")
        gone = self.build(store, context).ref
        left = self.build(store, sources.context("2", model=b"2")).ref
        for ref in (gone, left):
            store.attach(ref, AttachmentKind.SBOM, [Attachment(b"bill of " + ref.version.encode(), "text/plain")])
        clock.now += 2 * HOUR

        decisions = store.prune(1, nobody, dry_run=False)

        assert {decision.ref: decision.keep for decision in decisions} == {gone: False, left: True}
        assert [part.content for part in store.attached(left, AttachmentKind.SBOM)] == [b"bill of 2"]
        # Built again it is the same image in most stores, and what was said of the one that went is not said of it.
        assert store.attached(self.build(store, context).ref, AttachmentKind.SBOM) == ()

    def test_nothing_is_put_beside_an_image_that_is_not_here(self, store: ImageStore, sources: Sources) -> None:
        unknown = self.build(store, sources.context()).ref.replace(digest="sha256:" + "0" * 64)

        with pytest.raises(ImageError, match="holds no image sha256:0000"):
            store.attach(unknown, AttachmentKind.SBOM, [Attachment(b"bill", "text/plain")])
