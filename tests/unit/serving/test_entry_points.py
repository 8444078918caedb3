import json
from pathlib import Path

import pytest

from serving import __main__, selftest
from serving.settings import Settings

from .detectors import detector, write_model


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_selftest_passes_on_a_good_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_PATH", str(write_model(tmp_path)))
    monkeypatch.setenv("IMAGE_DIGEST", "sha256:1")
    assert selftest.main() == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"]
    assert (report["model_version"], report["digest"], report["images"]) == ("7", "sha256:1", 3)


def test_the_selftest_fails_on_a_model_that_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_model(tmp_path)
    path.write_bytes(detector(end_to_end=False))
    monkeypatch.setenv("MODEL_PATH", str(path))
    assert selftest.main() == 1
    assert "changed after its export" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "MODEL_PATH"),
        ({"MODEL_PATH": "/m", "ENVIRONMENT": "prod", "PORT": "x"}, "ENVIRONMENT"),
        ({"MODEL_PATH": "/m", "FAULT": "explode"}, "FAULT"),
        ({"MODEL_PATH": "/m", "DATABASE_URL": "mysql://root:secret@host/x"}, "sqlite and postgresql"),
        ({"MODEL_PATH": "/m", "DATABASE_URL": "secret"}, "DATABASE_URL"),
    ],
)
def test_a_wrong_environment_stops_the_start_with_one_sentence(
    environment: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert __main__.main() == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert "secret" not in told
