"""What programs get from every command: one document, whatever happens, and nothing is changed by a rehearsal."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from banana_delivery import cli
from banana_delivery.cli.answering.answer import Answer, answering, wants_json
from banana_delivery.cli.answering.examples import EXAMPLES, help_below
from banana_delivery.cli.common import console
from banana_delivery.demo.summary import Summary
from tests.unit.test_cli import ARGUMENTS, NOWHERE

COMMANDS: Mapping[str, Any] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
NO_FORM = {"policy": ["check", "demo", "--rounds", "1"], "settings": []}
"""Documents of an own form, from before there was one for all."""
CHANGES = {
    "up": [],
    "down": [],
    "register-webhook": ["https://hooks.example.com"],
    "deliver": ["1"],
    "redeploy": ["1", "2"],
    "rollback": ["--reason", "It looks wrong."],
    "adopt-records": [],
    "restore": [],
    "approve": ["1", "--reason", "I looked."],
    "override": ["1", "--reason", "I looked."],
    "withdraw": ["1", "--reason", "I looked again."],
    "freeze": ["--reason", "A web shop opens."],
    "unfreeze": ["--reason", "It is open."],
    "pause": ["--reason", "I look at it."],
    "resume": ["staging"],
    "abort": ["--reason", "The wrong one was staged."],
}


def options(name: str) -> set[str]:
    return {option for parameter in COMMANDS[name].params for option in parameter.opts}


def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *typed: str
) -> tuple[int | str | None, str, str]:
    monkeypatch.setattr(sys, "argv", ["banana-delivery", *typed])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return left.value.code, *capfd.readouterr()


def nowhere(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("BANANA_HOME", str(home))
    for port in ("BANANA_MLFLOW_PORT", "BANANA_DAGSTER_PORT"):
        monkeypatch.setenv(port, NOWHERE)
    for other in ("DAGSTER_HOME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(other, raising=False)


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"up", "demo"}))
def test_every_command_answers_a_program_with_one_document_though_nothing_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    nowhere(monkeypatch, tmp_path / "home")
    plain, _, _ = run(monkeypatch, capfd, name, *NO_FORM.get(name, ARGUMENTS[name]))
    code, said, _ = run(monkeypatch, capfd, name, "--json", *NO_FORM.get(name, ARGUMENTS[name]))
    told = json.loads(said)
    assert code == plain
    assert isinstance(told, dict)
    if name not in NO_FORM or "error" in told:
        assert told["form"] >= 1
    assert ("error" in told) == (code == 2)


@pytest.mark.parametrize("typed", [["deliver"], ["deliver", "../x"], ["freeze"], ["no-such"], ["prune", "--nope"]])
def test_a_slip_of_the_finger_is_a_document_too(
    typed: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    nowhere(monkeypatch, tmp_path / "home")
    plain, _, _ = run(monkeypatch, capfd, *typed)
    code, said, beside = run(monkeypatch, capfd, *typed, "--json")
    assert (code, beside) == (plain, "") == (2, "")
    assert json.loads(said)["error"]


def test_what_stands_behind_two_dashes_is_no_option() -> None:
    assert wants_json(["deliver", "--json"])
    assert not wants_json(["deliver", "--", "--json"])
    assert not wants_json([])


def test_people_are_told_beside_the_document_and_a_command_of_few_words_by_them(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def quiet() -> None:
        """Say something."""
        console.print("it is [bold]done[/bold] " + "x" * 200)

    app = typer.Typer()
    app.command()(answering("quiet", quiet))
    for typed in ([], ["--json"]):
        typer.main.get_command(app)(typed, standalone_mode=False)
    said, beside = capfd.readouterr()
    line = "it is done " + "x" * 200
    assert json.loads(said[said.index("{") :]) == {"form": 1, "command": "quiet", "said": [line]}
    assert beside.strip() == line


def test_a_command_fails_for_a_program_as_it_does_for_people() -> None:
    def failing() -> Answer:
        """Fail."""
        return Answer({"wrong": True}, ["It is wrong."], exit_code=1)

    app = typer.Typer()
    app.command()(answering("failing", failing))
    assert [typer.main.get_command(app)(typed, standalone_mode=False) for typed in ([], ["--json"])] == [1, 1]


@pytest.mark.parametrize("said_no", [False, True])
def test_what_a_command_asks_stands_beside_the_document(
    said_no: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def asking() -> Answer:
        """Ask."""
        typer.confirm("Is it so?", abort=True)
        print("It may be printed by any library.")  # noqa: T201 -- as libraries do
        return Answer({"so": True})

    app = typer.Typer()
    app.command()(answering("asking", asking))
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n" if said_no else "y\n"))
    if said_no:
        with pytest.raises(typer.Abort):
            typer.main.get_command(app)(["--json"], standalone_mode=False)
    else:
        typer.main.get_command(app)(["--json"], standalone_mode=False)
    said, beside = capfd.readouterr()
    assert "Is it so?" in beside
    assert said == "" if said_no else json.loads(said)["so"]


def test_a_command_that_leaves_with_a_code_is_told_by_what_it_said(capfd: pytest.CaptureFixture[str]) -> None:
    def leaving() -> None:
        """Leave."""
        console.print("It went wrong.")
        raise typer.Exit(1)

    app = typer.Typer()
    app.command()(answering("leaving", leaving))
    assert typer.main.get_command(app)(["--json"], standalone_mode=False) == 1
    assert json.loads(capfd.readouterr().out)["said"] == ["It went wrong."]


@pytest.mark.parametrize("as_told", [True, False])
def test_a_demonstration_is_one_document_and_its_code_says_whether_it_ended_as_told(
    as_told: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    summary = Summary(deliveries=(), requests=7, failed_outside_faulty_colour=0)
    monkeypatch.setattr("banana_delivery.demo.runner.run_demo", lambda *_: (summary, as_told))
    code, said, _ = run(monkeypatch, capfd, "demo", "--json")
    told = json.loads(said)
    assert (code, told["requests"], told["as_told"]) == (0 if as_told else 1, 7, as_told)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_json_and_an_example_that_it_takes(name: str) -> None:
    assert "--json" in options(name)
    first, *typed = shlex.split(EXAMPLES[name])
    assert first == name
    typed_options = {word for word in typed if word.startswith("--")}
    assert typed_options <= options(name)
    assert f"`banana-delivery {EXAMPLES[name]}`" in help_below(name)


@pytest.mark.parametrize("name", CHANGES)
def test_a_rehearsal_leaves_the_home_as_it_was(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    nowhere(monkeypatch, home)
    assert "--dry-run" in options(name)
    for before in ({}, {"settings.env": "BANANA_POLICY='demo'\n", "old.txt": "kept"}):
        for file, text in before.items():
            home.mkdir(exist_ok=True)
            (home / file).write_text(text)
        if name == "up":
            for number, port in enumerate(re.findall(r"\w+_port", "mlflow_port dagster_port")):
                monkeypatch.setenv(f"BANANA_{port.upper()}", str(31_000 + number))
        code, _, _ = run(monkeypatch, capfd, name, "--dry-run", *CHANGES[name])
        assert code in {0, 2}
        found = {path.name: path.read_text() for path in home.rglob("*") if path.is_file()} if home.exists() else {}
        assert found == before
