"""Every command, before the first ``up`` and in a home that cannot be used: one sentence, and never a stack trace."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from banana_delivery import cli
from banana_delivery.runs.instance import another_home, dagster_home
from banana_delivery.settings import Settings

ARGUMENTS = {
    "up": [],
    "down": [],
    "demo": [],
    "status": [],
    "settings": [],
    "doctor": [],
    "notify-test": [],
    "register-webhook": ["https://hooks.example.com"],
    "deliver": ["1"],
    "redeploy": ["1"],
    "rollback": ["--reason", "It looks wrong."],
    "adopt-records": [],
    "approve": ["1", "--reason", "I looked."],
    "override": ["1", "--reason", "I looked."],
    "withdraw": ["1", "--reason", "I looked again."],
    "restore": ["--yes"],
    "resume": [],
    "abort": ["--reason", "The wrong one was staged."],
    "prune": [],
    "rebuild": ["1"],
    "assemble-runtime": [],
    "check": ["no-such.pt"],
    "holdout": ["check"],
    "policy": ["show"],
    "backtest": ["--policy", "demo"],
    "scorecard": [],
    "pause": ["--reason", "I look at it."],
    "freeze": ["--reason", "A web shop opens."],
    "unfreeze": ["--reason", "It is open."],
}
STARTS = {"up", "demo"}
"""In a home that can be used they would start the stack."""
NOWHERE = "9"
"""A port on which nobody listens."""


def empty(folder: Path) -> Path:
    return folder / "home"


def a_file(folder: Path) -> Path:
    (folder / "home").write_text("in the way")
    return folder / "home"


def not_to_be_made(_: Path) -> Path:
    return Path("/proc/no/home")


def with_one_field_more(folder: Path) -> Path:
    for environment in ("production", "staging"):
        record = folder / "home" / "environments" / environment / "record.json"
        record.parent.mkdir(parents=True)
        record.write_text(f'{{"environment": "{environment}", "no_such_key": 1}}')
    return folder / "home"


def test_every_command_is_tried_here() -> None:
    assert set(typer.main.get_command(cli.app).commands) == set(ARGUMENTS)  # type: ignore[attr-defined]


@pytest.mark.parametrize("home", [empty, a_file, not_to_be_made, with_one_field_more])
@pytest.mark.parametrize("command", ARGUMENTS)
def test_a_command_says_one_sentence(
    command: str,
    home: Callable[[Path], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if command in STARTS and home in {empty, with_one_field_more}:
        pytest.skip("It would start the stack.")
    monkeypatch.setenv("BANANA_HOME", str(home(tmp_path)))
    for port in ("BANANA_MLFLOW_PORT", "BANANA_DAGSTER_PORT"):
        monkeypatch.setenv(port, NOWHERE)
    for other in ("DAGSTER_HOME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setattr(sys, "argv", ["banana-delivery", command, *ARGUMENTS[command]])
    with pytest.raises(SystemExit) as left:
        cli.main()
    said, also = capfd.readouterr()
    assert "Traceback" not in said + also
    assert "Nobody expected this" not in also
    assert left.value.code in {0, 1, 2}
    assert (also if left.value.code == 2 else said + also).strip()


def test_a_variable_that_nobody_reads_is_told_beside_what_the_command_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BANANA_HOME", str(tmp_path))
    monkeypatch.setenv("BANANA_PLANN", "demo")
    monkeypatch.setattr(sys, "argv", ["banana-delivery", "deliver", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    said, beside = capsys.readouterr()
    assert "Usage" in said
    assert beside == "BANANA_PLANN is no setting, so that it changes nothing; do you mean BANANA_PLAN?\n"


def test_what_a_program_asks_for_is_json_and_nothing_else_though_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BANANA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "argv", ["banana-delivery", "status", "--json"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    found = json.loads(capsys.readouterr().out)
    assert left.value.code == 0
    assert found["environments"]["production"]["unseen"].startswith("The router does not answer")
    assert found["attempts"] == []


def test_settings_are_shown_with_where_they_come_from_and_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BANANA_HOME", str(tmp_path))
    monkeypatch.setenv("BANANA_REGISTRY_PASSWORD", "hunter2hunter2")
    shown = CliRunner().invoke(cli.app, ["settings"]).output
    told = json.loads(CliRunner().invoke(cli.app, ["settings", "--json"]).output)
    assert "hunter2" not in shown + json.dumps(told)
    assert told["home"] == {"value": str(tmp_path), "set": True, "from": "variable"}
    assert told["registry_password"] == {"value": "**********", "set": True, "from": "variable"}
    assert told["keep_versions"] == {"value": 10, "set": False, "from": "default"}
    assert told.keys() == Settings.model_fields.keys()


def test_the_program_says_which_version_it_is() -> None:
    said = CliRunner().invoke(cli.app, ["--version"])
    assert (said.exit_code, said.output.split()[0]) == (0, "banana-delivery")


def test_what_nobody_expected_is_a_sentence_too_and_its_trace_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(cli.entry, "app", fail)
    with pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr().err
    assert said.startswith("Nobody expected this (ZeroDivisionError): by zero\nFor whoever mends it: ")
    (kept,) = tmp_path.glob("*.trace")
    assert "in fail" in kept.read_text()


def test_another_dagster_home_in_the_shell_changes_nothing_and_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, own = Settings(home=tmp_path), tmp_path / "dagster"
    monkeypatch.setenv("DAGSTER_HOME", "/elsewhere")
    assert (dagster_home(settings), another_home(settings)) == (Path("/elsewhere"), "")
    own.mkdir()
    (own / "dagster.yaml").touch()
    assert dagster_home(settings) == own
    assert another_home(settings) == (
        f"DAGSTER_HOME leads to /elsewhere, which is another instance than this pipeline's own; {own} is used."
    )
    monkeypatch.setenv("DAGSTER_HOME", str(own))
    assert another_home(settings) == ""


@pytest.mark.parametrize("typed", ["../../x", "7;reboot", "07", "", "@everyone", "٧", "9" * 99, "a\x1b[2J"])
@pytest.mark.parametrize(
    "command",
    [["deliver"], ["redeploy", "1"], ["approve", "--reason", "r"], ["override", "--reason", "r"], ["rebuild"]],
)
def test_what_is_no_version_is_refused_where_it_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], typed: str
) -> None:
    monkeypatch.setenv("BANANA_HOME", str(tmp_path / "home"))
    done = CliRunner().invoke(cli.app, [*command, "--", typed])
    assert done.exit_code == 2
    assert "is no version number" in done.output
    assert "\x1b[2J" not in done.output
    assert not (tmp_path / "home").exists()
