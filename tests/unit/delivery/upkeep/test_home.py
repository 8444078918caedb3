"""What old deliveries left goes, and nothing that anybody may need."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from banana_delivery.delivery.upkeep.home import HomeRetention, InUse, Kind, Removal
from banana_delivery.evaluation.answers import AnswerCache
from banana_delivery.policy.quality.matching import match_answers
from banana_delivery.settings import Settings
from tests.unit.policy.quality.random_leaves import CLASSES, random_images

NOW = 2_000_000_000.0
DAY = 86_400.0


def write(path: Path, age_days: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("content")
    for one in (path, path.parent):
        os.utime(one, (NOW - age_days * DAY,) * 2)
    return path


def in_use(
    digests: Iterable[str] = (), versions: Iterable[str] = (), runs: Iterable[str] = (), served: Iterable[str] = ()
) -> InUse:
    of_use = set(served)
    return InUse(set(digests), set(runs), set(versions), version_of_use=lambda version: version in of_use)


def prune(home: Path, used: InUse, *, dry_run: bool = False, **settings: object) -> list[Removal]:
    kept = Settings.model_validate({"home": home, "model_name": "leaves", **settings})
    return HomeRetention(kept, home / "dagster" / "storage").prune(used, NOW, dry_run=dry_run)


def test_of_the_exported_models_the_newest_stay_and_those_in_use_and_those_on_their_way(tmp_path: Path) -> None:
    models = tmp_path / "artifacts" / "leaves"
    for version in range(1, 9):
        write(models / str(version) / "model.onnx", age_days=20 - version)

    prune(tmp_path, in_use(versions={"2"}, served={"1"}), keep_versions=3)

    assert {path.name for path in models.iterdir()} == {"1", "2", "6", "7", "8"}


def test_what_a_delivery_looked_at_goes_with_its_report_and_stays_while_it_runs(tmp_path: Path) -> None:
    reports, looks = tmp_path / "reports", tmp_path / "looks"
    for number in range(4):
        write(reports / f"version-{number}-1-released.html", age_days=20 - number)
        write(reports / f"version-{number}-1-released.looks.gz", age_days=20 - number)
    write(reports / "version-9-1-error.looks.gz", age_days=3)
    for run in ("alive", "dead"):
        write(looks / f"{run}.looks.gz", age_days=3)

    prune(tmp_path, in_use(runs={"alive"}), keep_reports=2)

    left = {f"version-{number}-1-released.{end}" for number in (2, 3) for end in ("html", "looks.gz")}
    assert {path.name for path in reports.iterdir()} == left
    assert {path.name for path in looks.iterdir()} == {"alive.looks.gz"}


def test_another_models_files_are_not_ours_to_remove(tmp_path: Path) -> None:
    theirs = write(tmp_path / "artifacts" / "cats" / "1" / "model.onnx", age_days=400)
    for version in ("1", "2"):
        write(tmp_path / "artifacts" / "leaves" / version / "model.onnx", age_days=30)

    prune(tmp_path, in_use(), keep_versions=1)

    assert theirs.is_file()


@pytest.mark.parametrize("name", ["tmpab12cd", ".going-4"])
def test_what_a_killed_run_left_half_done_goes_once_nobody_can_be_at_work_on_it(tmp_path: Path, name: str) -> None:
    left = write(tmp_path / "artifacts" / "leaves" / name / "best.pt", age_days=2).parent
    fresh = write(tmp_path / "artifacts" / "leaves" / "tmpnow" / "best.pt", age_days=0.01).parent

    prune(tmp_path, in_use())

    assert (left.exists(), fresh.exists()) == (False, True)


@pytest.mark.parametrize("others", [(), ("asked-later",)])
def test_what_guards_the_kept_answers_is_not_counted_among_them_nor_taken_away(
    tmp_path: Path, others: tuple[str, ...]
) -> None:
    matches = match_answers(random_images(2, 1, 2.0, 3, 0), CLASSES)
    names = (*matches.names, *others)
    AnswerCache(tmp_path / "answers" / "0a1b", names).put(f"sha256:{'a' * 64}", matches)
    kept = prune(tmp_path, in_use(), keep_versions=1)
    assert [(removal.kept.name, removal.keep) for removal in kept] == [("a" * 64, True)]


def test_answers_and_logs_of_replicas_stay_with_their_image(tmp_path: Path) -> None:
    digests = [f"{number:010d}{'f' * 54}" for number in range(6)]
    for age, digest in enumerate(digests, start=1):
        write(tmp_path / "answers" / "0a1b" / f"{digest}.npz", age)
        write(tmp_path / "worst" / f"{digest}.json", age)
        write(tmp_path / "logs" / f"production-blue-{digest[:10]}-0.log", age)
    others = [write(tmp_path / "logs" / name, 900) for name in ("dagster-daemon.log", "dead-man.log", "mlflow.log.1")]

    prune(tmp_path, in_use(digests={f"sha256:{digests[5]}"}), keep_versions=1, production_replicas=1)

    assert {path.stem for path in (tmp_path / "answers" / "0a1b").iterdir()} == {digests[0], digests[5]}
    assert {path.stem for path in (tmp_path / "worst").iterdir()} == {digests[0], digests[5]}
    kept = {path.name for path in (tmp_path / "logs").iterdir() if path not in others}
    assert kept == {f"production-blue-{digest[:10]}-0.log" for digest in (digests[0], digests[1], digests[5])}
    assert all(path.is_file() for path in others)


def test_reports_and_outputs_of_runs_are_bounded_by_number_but_for_runs_that_go_on(tmp_path: Path) -> None:
    for age in range(1, 6):
        write(tmp_path / "reports" / f"version-{age}-17-released.html", age)
        write(tmp_path / "dagster" / "storage" / f"run-{age}" / "compute_logs" / "step.err", age)

    prune(tmp_path, in_use(runs={"run-5"}), keep_reports=2)

    assert {path.name[8] for path in (tmp_path / "reports").iterdir()} == {"1", "2"}
    printed = {path.parent.name for path in (tmp_path / "dagster" / "storage").glob("*/compute_logs")}
    assert printed == {"run-1", "run-2", "run-5"}


def test_nothing_is_removed_by_only_looking_and_what_would_go_is_told_with_its_size(tmp_path: Path) -> None:
    for age in range(1, 4):
        write(tmp_path / "reports" / f"version-{age}-17-released.html", age)

    shown = prune(tmp_path, in_use(), dry_run=True, keep_reports=1)

    assert [(one.kept.kind, one.keep, one.kept.size) for one in shown] == [
        (Kind.REPORT, True, 7),
        (Kind.REPORT, False, 7),
        (Kind.REPORT, False, 7),
    ]
    assert len(list((tmp_path / "reports").iterdir())) == 3


def test_a_link_to_somewhere_else_is_never_followed(tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere" / "1" / "model.onnx", age_days=100)
    models = tmp_path / "home" / "artifacts" / "leaves"
    write(models / "9" / "model.onnx", age_days=2)
    (models / "1").symlink_to(elsewhere.parent, target_is_directory=True)

    prune(tmp_path / "home", in_use(), keep_versions=1)

    assert elsewhere.is_file()
    assert (models / "1").is_symlink()


def test_what_cannot_be_removed_is_said_to_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path), missing_ok)

    for age in (1, 2):
        write(tmp_path / "reports" / f"version-{age}-17-released.html", age)
    monkeypatch.setattr(Path, "unlink", refuse)

    left = prune(tmp_path, in_use(), keep_reports=1)

    assert [one.keep for one in left] == [True, True]
    assert left[1].reason == "it could not be removed: Permission denied"
