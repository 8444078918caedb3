"""What every model registry promises, asked of the fake and of MLflow on SQLite."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from banana_delivery.errors import MissingCheckpointError, RegistryError, UnknownVersionError
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.outcomes import RegistryMark
from banana_delivery.policy.staged_versions import Wish
from tests.contract.registries import FakeWorld, MlflowWorld, PipelineHarness, sqlite_mlflow


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return sqlite_mlflow(tmp_path_factory.mktemp("mlflow"))


@pytest.fixture(params=["fake", "mlflow"])
def pipeline(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PipelineHarness:
    if request.param == "fake":
        return FakeWorld()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return MlflowWorld(request.getfixturevalue("mlflow_uri"), tmp_path)


def staged_versions(pipeline: PipelineHarness) -> list[str]:
    return [one.version for one in pipeline.registry.staged()]


def test_nothing_is_staged_until_somebody_says_so(pipeline: PipelineHarness) -> None:
    pipeline.publish()
    assert pipeline.registry.staged() == []


def test_stage_and_alias_of_one_version_are_one_staging(pipeline: PipelineHarness) -> None:
    version = pipeline.publish()
    pipeline.stage(version)
    pipeline.alias(version)
    [staged] = pipeline.registry.staged()
    assert (staged.version, staged.by_stage, staged.by_alias) == (version, True, True)


@pytest.mark.parametrize("alias", ["staging", "Staging"])
def test_an_alias_alone_stages_however_it_is_capitalised(pipeline: PipelineHarness, alias: str) -> None:
    version = pipeline.publish()
    pipeline.alias(version, alias)
    [staged] = pipeline.registry.staged()
    assert (staged.version, staged.by_stage, staged.by_alias) == (version, False, True)


def test_versions_come_in_the_order_of_their_staging_not_of_their_numbers(pipeline: PipelineHarness) -> None:
    first, second = pipeline.publish(), pipeline.publish()
    pipeline.stage(second)
    time.sleep(0.002)  # MLflow counts in milliseconds
    pipeline.stage(first)
    assert staged_versions(pipeline) == [second, first]


def test_staging_again_moves_the_time_of_staging(pipeline: PipelineHarness) -> None:
    version = pipeline.publish()
    pipeline.stage(version)
    before = pipeline.registry.staged()[0].staged_at
    time.sleep(0.002)
    pipeline.stage(version)
    assert pipeline.registry.staged()[0].staged_at > before


@pytest.mark.parametrize("outcome", [Outcome.PARKED, Outcome.CANCELLED, Outcome.ERROR])
def test_marking_an_outcome_that_leaves_it_staged_never_looks_like_a_staging(
    pipeline: PipelineHarness, outcome: Outcome
) -> None:
    serving, by_stage, by_alias = pipeline.publish(), pipeline.publish(), pipeline.publish()
    pipeline.stage(by_stage)
    pipeline.alias(by_alias)
    before = pipeline.registry.staged()
    for version in (by_stage, by_alias):
        pipeline.registry.mark(version, RegistryMark(outcome=outcome, reason="0 of 0", serving=serving))
    assert pipeline.registry.staged() == before


def test_latest_is_the_highest_number(pipeline: PipelineHarness) -> None:
    pipeline.publish()
    newest = pipeline.publish()
    pipeline.stage("1")
    described = pipeline.registry.describe("latest")
    assert described.version == newest
    assert described.metrics == {"mAP50": 0.5}


def test_describing_tells_stage_aliases_and_run(pipeline: PipelineHarness) -> None:
    version = pipeline.publish()
    pipeline.stage(version, "Production")
    pipeline.alias(version, "champion")
    described = pipeline.registry.describe(version)
    assert (described.stage, described.aliases) == ("Production", ("champion",))
    assert described.run_id
    assert described.source


@pytest.mark.parametrize("version", ["99", "v1", "", "-1"])
def test_an_unknown_version_is_one_sentence_that_names_the_known_ones(pipeline: PipelineHarness, version: str) -> None:
    known = pipeline.publish()
    for ask in (pipeline.registry.describe, lambda v: pipeline.registry.download(v, Path("unused"))):
        with pytest.raises(UnknownVersionError, match=f"no version '{version}'.*{known}"):
            ask(version)
    with pytest.raises(UnknownVersionError):
        pipeline.registry.mark(version, RegistryMark(outcome=Outcome.REJECTED, reason="unknown", clear_staging=True))


def test_a_checkpoint_arrives_whole_and_alone(pipeline: PipelineHarness, tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    path = pipeline.registry.download(pipeline.publish(content), tmp_path / "deep" / "folder")
    assert path == tmp_path / "deep" / "folder" / "best.pt"
    assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == ["best.pt"]


def test_a_version_without_a_checkpoint_is_one_sentence_and_leaves_nothing(
    pipeline: PipelineHarness, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    with pytest.raises(MissingCheckpointError, match=r"no best\.pt.*version 1"):
        pipeline.registry.download(pipeline.publish(None), target)
    assert not target.exists()


def test_artifacts_that_are_not_there_at_all_prove_nothing_about_the_version(
    pipeline: PipelineHarness, tmp_path: Path
) -> None:
    version = pipeline.publish()
    pipeline.lose_artifacts()
    with pytest.raises(RegistryError, match=r"[Vv]ersion 1") as caught:
        pipeline.registry.download(version, tmp_path / "target")
    assert not isinstance(caught.value, UnknownVersionError | MissingCheckpointError)


def test_a_release_becomes_the_one_production_version(pipeline: PipelineHarness) -> None:
    old, new = pipeline.publish(), pipeline.publish()
    pipeline.stage(old, "Production")
    pipeline.alias(old, "production")
    pipeline.stage(new)
    pipeline.alias(new)
    pipeline.registry.mark(
        new, RegistryMark(outcome=Outcome.RELEASED, reason="100 %", clear_staging=True, serving=new, digest="sha256:1")
    )
    assert pipeline.registry.describe(old).stage == "Archived"
    described = pipeline.registry.describe(new)
    assert (described.stage, described.aliases) == ("Production", ("production",))
    assert described.tags["banana.outcome"] == "released"
    assert described.tags["banana.digest"] == "sha256:1"
    assert pipeline.registry.staged() == []


def test_whatever_people_put_into_production_beside_it_the_serving_version_is_alone_there(
    pipeline: PipelineHarness,
) -> None:
    below, lowest, serving, version = (pipeline.publish() for _ in range(4))
    pipeline.stage(serving, "Production")
    pipeline.stage(lowest, "Production")
    pipeline.stage(below, "Production")
    pipeline.stage(version, "Production")
    mark = RegistryMark(outcome=Outcome.REJECTED, reason="bad", clear_staging=True, serving=serving)
    pipeline.registry.mark(version, mark)
    stages = [pipeline.registry.describe(one).stage for one in (below, lowest, serving, version)]
    assert stages == ["Archived", "Archived", "Production", "Archived"]


def test_a_rejection_clears_the_staging_and_says_why(pipeline: PipelineHarness) -> None:
    serving, version = pipeline.publish(), pipeline.publish()
    pipeline.stage(serving, "Production")
    pipeline.stage(version)
    pipeline.alias(version, "Staging")
    pipeline.registry.mark(
        version,
        RegistryMark(
            outcome=Outcome.REJECTED, reason="mAP50 0.41 < 0.60", clear_staging=True, serving=serving, run_id="r1"
        ),
    )
    described = pipeline.registry.describe(version)
    assert (described.stage, described.aliases) == ("None", ())
    assert described.tags["banana.reason"] == "mAP50 0.41 < 0.60"
    assert described.tags["banana.run"] == "r1"
    assert pipeline.registry.describe(serving).stage == "Production"


def test_clearing_one_version_leaves_the_staging_of_another(pipeline: PipelineHarness) -> None:
    superseded, wanted = pipeline.publish(), pipeline.publish()
    pipeline.stage(superseded)
    pipeline.stage(wanted)
    pipeline.alias(wanted)
    pipeline.registry.mark(superseded, RegistryMark(outcome=Outcome.SUPERSEDED, reason="by 2", clear_staging=True))
    [staged] = pipeline.registry.staged()
    assert (staged.version, staged.by_stage, staged.by_alias) == (wanted, True, True)


def test_marking_twice_is_marking_once(pipeline: PipelineHarness) -> None:
    version = pipeline.publish()
    pipeline.stage(version)
    mark = RegistryMark(outcome=Outcome.RELEASED, reason="100 %", clear_staging=True, serving=version)
    pipeline.registry.mark(version, mark)
    once = pipeline.registry.describe(version)
    pipeline.registry.mark(version, mark)
    assert pipeline.registry.describe(version) == once


def test_a_reason_of_any_length_is_taken(pipeline: PipelineHarness) -> None:
    version = pipeline.publish()
    pipeline.registry.mark(version, RegistryMark(outcome=Outcome.ERROR, reason="x" * 200_000))
    assert pipeline.registry.describe(version).tags["banana.reason"].startswith("xxx")


def test_a_serving_version_that_was_deleted_does_not_keep_the_rest_from_being_written(
    pipeline: PipelineHarness,
) -> None:
    version = pipeline.publish()
    pipeline.stage(version)
    with pytest.raises(UnknownVersionError, match="99"):
        pipeline.registry.mark(
            version, RegistryMark(outcome=Outcome.REJECTED, reason="bad", clear_staging=True, serving="99")
        )
    assert pipeline.registry.staged() == []
    assert pipeline.registry.describe(version).tags["banana.outcome"] == "rejected"


@pytest.mark.parametrize("outcome", [Outcome.RELEASED, Outcome.ROLLED_BACK, Outcome.REJECTED])
def test_a_version_that_was_deleted_meanwhile_does_not_keep_the_others_from_saying_the_truth(
    pipeline: PipelineHarness, outcome: Outcome
) -> None:
    old, serving, deleted = pipeline.publish(), pipeline.publish(), pipeline.publish()
    pipeline.stage(old, "Production")
    pipeline.alias(old, "production")
    pipeline.delete(deleted)
    with pytest.raises(UnknownVersionError, match=f"no version '{deleted}'"):
        pipeline.registry.mark(deleted, RegistryMark(outcome=outcome, reason="x", clear_staging=True, serving=serving))
    assert pipeline.registry.describe(old).stage == "Archived"
    described = pipeline.registry.describe(serving)
    assert (described.stage, described.aliases) == ("Production", ("production",))


def test_no_version_says_that_it_serves_when_the_one_that_does_was_deleted(pipeline: PipelineHarness) -> None:
    old, released = pipeline.publish(), pipeline.publish()
    pipeline.stage(old, "Production")
    pipeline.alias(old, "production")
    pipeline.delete(released)
    for _ in range(2):
        with pytest.raises(UnknownVersionError, match=f"no version '{released}'"):
            pipeline.registry.mark(
                released, RegistryMark(outcome=Outcome.RELEASED, reason="x", clear_staging=True, serving=released)
            )
    described = pipeline.registry.describe(old)
    assert (described.stage, described.aliases) == ("Archived", ())


def test_an_unreachable_registry_is_one_sentence(pipeline: PipelineHarness, tmp_path: Path) -> None:
    version = pipeline.publish()
    registry = pipeline.unreachable()
    for ask in (
        registry.staged,
        lambda: registry.describe(version),
        lambda: registry.download(version, tmp_path / "target"),
        lambda: registry.signature(version, tmp_path / "target"),
        lambda: registry.mark(version, RegistryMark(outcome=Outcome.ERROR, reason="x")),
    ):
        with pytest.raises(RegistryError) as caught:
            ask()
        assert not isinstance(caught.value, UnknownVersionError | MissingCheckpointError)
        assert "\n" not in str(caught.value)


def test_a_signature_beside_the_checkpoint_is_fetched_whole(pipeline: PipelineHarness, tmp_path: Path) -> None:
    version = pipeline.publish(signature=b"{}")

    found = pipeline.registry.signature(version, tmp_path / "target")

    assert found
    assert found.parent == tmp_path / "target"
    assert found.read_bytes() == b"{}"


def test_that_there_is_no_signature_is_an_answer(pipeline: PipelineHarness, tmp_path: Path) -> None:
    assert pipeline.registry.signature(pipeline.publish(), tmp_path / "target") is None


def test_whether_there_is_a_signature_is_not_known_where_the_artifacts_are_not_there(
    pipeline: PipelineHarness, tmp_path: Path
) -> None:
    version = pipeline.publish(signature=b"{}")
    pipeline.lose_artifacts()

    with pytest.raises(RegistryError) as caught:
        pipeline.registry.signature(version, tmp_path / "target")

    assert not isinstance(caught.value, MissingCheckpointError)


@pytest.mark.parametrize("wish", Wish)
def test_what_people_wrote_beside_a_staged_version_is_told_until_it_is_answered(
    pipeline: PipelineHarness, wish: Wish
) -> None:
    version, other = pipeline.publish(), pipeline.publish()
    for one in (version, other):
        pipeline.stage(one)
    moved = {one.version: one.staged_at for one in pipeline.registry.staged()}
    pipeline.write(version, f"banana.{wish}", " The rare class has ten boxes. ")
    pipeline.write(version, "owner", "Ada")
    told = {one.version: one.wishes for one in pipeline.registry.staged()}
    assert told[version] == {wish: "The rare class has ten boxes."}
    assert not told.get(other)

    for _ in range(2):
        pipeline.registry.answer(version, wish, f"{wish}: it is on record.")
    tags = pipeline.registry.describe(version).tags
    assert tags == {"owner": "Ada", "banana.answer": f"{wish}: it is on record."}
    assert not any(one.wishes for one in pipeline.registry.staged())
    assert {one.version: one.staged_at for one in pipeline.registry.staged()} == moved, "no staging anew"


def test_an_answer_has_to_have_a_version_and_a_registry(pipeline: PipelineHarness) -> None:
    with pytest.raises(UnknownVersionError):
        pipeline.registry.answer("77", Wish.APPROVE, "It is on record.")
    version = pipeline.publish()
    with pytest.raises(RegistryError):
        pipeline.unreachable().answer(version, Wish.APPROVE, "It is on record.")
