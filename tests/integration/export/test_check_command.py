"""``banana-delivery check best.pt``: what a delivery would say of a checkpoint, without one."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from banana_delivery import cli
from banana_delivery.delivery.upkeep import trying
from banana_delivery.errors import ExportError
from banana_delivery.sample_data.leaves import CLASSES, write_dataset
from examples import broken
from examples.train import MODELS

IMAGES = 100
"""On so few, a model that is no worse cannot be shown to be no worse, and one that is much worse can."""


@pytest.fixture(scope="module")
def leaves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leaves")
    write_dataset(folder, IMAGES, seed=5)
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BANANA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def check(*words: str | Path) -> Result:
    return CliRunner().invoke(cli.app, ["check", *map(str, words)])


def test_a_good_checkpoint_passes_and_nothing_of_it_stays(
    leaves: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(leaves.parent)
    here = os.path.relpath(MODELS / "better" / "best.pt", leaves.parent)
    done = check(here, "--holdout", leaves.name, "--json")

    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["outcome"] == "released"
    assert told["artifact"]["classes"] == list(CLASSES)
    assert told["artifact"]["parity"]["passed"]
    assert told["quality"]["absolute"]["images"] == IMAGES
    assert told["quality"]["absolute"]["map50"] > 0.8
    assert 0.5 < told["figures"]["recall at confidence 0.25"] <= 1
    assert not list(home.rglob("*.onnx"))


def test_beside_a_better_one_it_is_judged_as_beside_production(leaves: Path) -> None:
    done = check(MODELS / "regressed" / "best.pt", "--beside", MODELS / "better" / "best.pt", "--holdout", leaves)

    assert done.exit_code == 4, done.output
    for name in (*CLASSES, "AP50 of the other", "FAIL: "):
        assert name in done.stdout


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (broken.not_a_torch_file, "another kind of file"),
        (broken.classification_model, "task 'classify'"),
        (broken.nan_weights, "not finite numbers"),
        (broken.different_classes, "label these classes there"),
    ],
)
def test_what_a_delivery_would_reject_is_rejected_with_its_sentence(
    leaves: Path, tmp_path: Path, make: Callable[[Path], Path], says: str
) -> None:
    done = check(make(tmp_path), "--holdout", leaves)

    assert done.exit_code == 4
    assert says in " ".join(done.stderr.split())
    assert done.stdout == ""


def test_a_file_that_is_not_there_is_no_verdict(tmp_path: Path) -> None:
    done = check(tmp_path / "best.pt")

    assert done.exit_code == 2
    assert "does not exist" in " ".join(done.stderr.replace("│", " ").split())


def test_a_disk_that_is_full_or_gone_is_named_and_not_blamed_on_the_home(
    leaves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    done = check(MODELS / "better" / "best.pt", "--holdout", leaves)

    assert isinstance(done.exception, ExportError)
    assert str(tmp_path / "gone") in str(done.exception)
    assert "free space" in str(done.exception)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_ends_it_half_way_finds_nothing_of_it(
    leaves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def is_ended(_: Path, folder: Path, *__: object, **___: object) -> None:
        (folder / "half").write_text("of a model")
        os.kill(os.getpid(), number)

    before = signal.signal(number, lambda *_: None)  # Or it would end the tests, too.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(trying, "export_model", is_ended)
    try:
        done = check(MODELS / "better" / "best.pt", "--holdout", leaves)
    finally:
        signal.signal(number, before)

    assert done.exit_code == 128 + number
    assert not list(tmp_path.glob("banana-check-*"))
