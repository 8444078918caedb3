from __future__ import annotations

from pathlib import Path

import pytest

from banana_delivery.errors import ExportError, NotADetectorError
from banana_delivery.export import sandbox
from tests import ROOT
from tests.unit.export.odd_worker import Order, Told


@pytest.fixture(autouse=True)
def _worker_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The odd worker is no part of the product; a child imports what its parent was told."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def run(behaviour: str, scratch: Path, timeout: float = 30.0) -> Told:
    return sandbox.run("tests.unit.export.odd_worker", Order(behaviour=behaviour), Told, scratch, timeout)


def test_no_secret_is_passed_on_and_everything_is_written_in_the_scratch_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "BANANA_NOTIFY_URLS", "PGPASSWORD", "MY_TOKEN"):
        monkeypatch.setenv(name, "a secret")
    told = run("answer", tmp_path)
    assert "a secret" not in told.environment.values()
    assert told.directory == str(tmp_path)
    for name in ("HOME", "TMPDIR", "YOLO_CONFIG_DIR"):
        assert told.environment[name] == str(tmp_path)
    assert told.environment["YOLO_AUTOINSTALL"] == "false"
    assert told.environment["ULTRALYTICS_SAFE_LOAD"] == "true"


def test_a_rejection_arrives_as_what_it_was(tmp_path: Path) -> None:
    with pytest.raises(NotADetectorError, match=r"^It only tells cats from dogs\.$"):
        run("reject", tmp_path)


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [
        ("crash", r"odd_worker failed with exit code 1 \(ValueError: out of cheese\)"),
        ("die", "was killed, most likely for want of memory"),
        ("eat", "MemoryError"),
    ],
)
def test_a_death_is_no_rejection(tmp_path: Path, behaviour: str, sentence: str) -> None:
    with pytest.raises(ExportError, match=sentence):
        run(behaviour, tmp_path)


def test_a_process_that_hangs_is_killed(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="did not finish within 2 s"):
        run("hang", tmp_path, timeout=2.0)
