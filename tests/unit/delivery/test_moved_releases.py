"""Where the image of a release is found that only the history knows, after the repository of releases was changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from banana_delivery.delivery.image_build import build_context
from banana_delivery.delivery.record_attempt import AttemptRecorder
from banana_delivery.delivery.rescue.emergency import EmergencyRollback
from banana_delivery.errors import NothingToRollBackError, UnreachableError
from banana_delivery.files import file_sha256
from banana_delivery.images.fake import FakeImages
from banana_delivery.policy.asset_records import ArtifactRecord
from banana_delivery.policy.model import Environment, ImageRef, RolloutRecord
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.settings import Settings
from banana_delivery.targets.fake import FakeTarget
from tests.support.artifacts import artifact_record

OLD, NEW = "registry.test/old", "registry.test/new"


class Past:
    """An image that was released from the old repository, and the record of its model."""

    def __init__(self, folder: Path) -> None:
        (folder / "model.onnx").write_bytes(b"weights")
        (folder / "version.json").write_text("{}")
        self.artifact = artifact_record(folder, "7", onnx_sha256=file_sha256(folder / "model.onnx"))
        self.store = FakeImages(repository=OLD)
        self.settings = Settings(home=folder)
        self.ref = self.store.build(build_context(self.artifact, self.settings), lambda _: None).ref

    def all(self, *_: object) -> Iterator[ArtifactRecord]:
        return iter([self.artifact])

    def found(self, *, rehearsed: bool = False) -> ImageRef | None:
        """What a way back to it would start."""
        recorder = cast(AttemptRecorder, SimpleNamespace(settings=self.settings))
        rescue = EmergencyRollback(FakeTarget(), recorder, cast(AuditLog, self), print, self.store)
        return rescue._checked(RolloutRecord(environment=Environment.PRODUCTION), self.ref, rehearsed=rehearsed)


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return Past(tmp_path)


def test_a_release_that_did_not_move_is_taken_without_being_looked_for(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past.store, "resolve", lambda _: pytest.fail("That leases it, which needs more rights."))

    assert past.found() == past.ref


def test_a_release_is_found_where_releases_were_moved_to(past: Past) -> None:
    past.store.repository = NEW

    found = past.found()

    assert found == past.ref.replace(repository=NEW)


def test_a_rehearsal_finds_it_there_without_keeping_it_from_anybody(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    past.store.repository = NEW
    monkeypatch.setattr(past.store, "resolve", lambda _: pytest.fail("That writes a lease."))

    assert past.found(rehearsed=True) == past.ref.replace(repository=NEW)


def test_a_release_that_was_not_moved_along_is_named_with_what_to_do(past: Past) -> None:
    past.store = FakeImages(repository=NEW)

    with pytest.raises(NothingToRollBackError) as refusal:
        past.found()

    for word in (past.ref.digest, OLD, "copy it there by its digest", "BANANA_REGISTRY_REPOSITORY", "Nothing was"):
        assert word in str(refusal.value)


def test_a_stranger_of_the_same_version_is_not_taken_in_the_new_place_either(past: Past) -> None:
    past.store.repository = NEW
    past.artifact = past.artifact.replace(onnx_sha256="0" * 64)

    with pytest.raises(NothingToRollBackError, match="holds the model"):
        past.found()


def test_a_registry_that_is_away_is_not_waited_for_twice(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody_answers(_: object) -> dict[str, str]:
        raise UnreachableError("Nobody answers.")

    monkeypatch.setattr(past.store, "labels", nobody_answers)
    monkeypatch.setattr(past.store, "resolve", lambda _: pytest.fail("It was asked once more."))

    with pytest.raises(NothingToRollBackError, match="Nobody answers"):
        past.found()
