from __future__ import annotations

import ast
import inspect
import shlex
from pathlib import Path

import pytest
import typer.main

import banana_delivery
from banana_delivery.cli import app
from banana_delivery.policy import commands
from banana_delivery.policy.model import Environment

PRODUCT = Path(banana_delivery.__file__).parent
ODD = "7; rm -rf $HOME 'x'"
TEXTS = [
    commands.up(),
    commands.status(),
    commands.assemble_runtime(),
    commands.deliver("7"),
    commands.redeploy("7", "5"),
    commands.adopt_records(),
    commands.approve("7"),
    commands.override("7"),
    commands.withdraw("7"),
    commands.unfreeze(),
    commands.rollback(),
    commands.rollback_to("7"),
    commands.go_on(),
    commands.abort("7"),
    commands.resume(Environment.PRODUCTION),
    commands.prune(),
    commands.notify_test(),
    commands.scorecard(),
    commands.restore(Environment.PRODUCTION, active="blue"),
]


def test_every_command_of_the_page_is_tested() -> None:
    functions = [name for name, _ in inspect.getmembers(commands, inspect.isfunction)]

    named = sorted({"go_on": "resume"}.get(name, name.removesuffix("_to")) for name in functions)
    assert sorted(text.split()[1].replace("-", "_") for text in TEXTS) == named


@pytest.mark.parametrize("text", TEXTS)
def test_the_command_line_takes_what_people_are_told_to_type(text: str) -> None:
    program, name, *arguments = shlex.split(text)

    assert program == commands.PROGRAM
    group = typer.main.get_command(app)
    command = group.commands[name]  # type: ignore[attr-defined]
    context = command.make_context(name, arguments, resilient_parsing=False)
    assert all(context.params[parameter.name] is not None for parameter in command.params if parameter.required)


@pytest.mark.parametrize("text", [commands.deliver(ODD), commands.redeploy(ODD), commands.approve(ODD)])
def test_a_version_with_an_odd_name_stays_one_word(text: str) -> None:
    assert shlex.split(text)[2] == ODD


def test_an_ordinary_version_is_not_quoted() -> None:
    assert commands.deliver("7") == "banana-delivery deliver 7"
    assert commands.override("7") == "banana-delivery override 7 --reason '...'"


@pytest.mark.parametrize(
    "package", ["policy", "targets", "embedded", "images", "model_registry", "notifications", "export", "evaluation"]
)
def test_no_message_spells_a_command_by_itself(package: str) -> None:
    spelled = [
        f"{path.relative_to(PRODUCT)}:{node.lineno}"
        for path in sorted((PRODUCT / package).rglob("*.py"))
        if path.name != "commands.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "banana-delivery " in node.value
    ]

    assert spelled == []
