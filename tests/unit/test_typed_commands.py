"""What the documents tell people to type is read by the programs' own parsers, and nothing of it is carried out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import typer
from typer.core import TyperGroup
from typer.main import get_command

from banana_delivery.cli import app
from banana_delivery.settings import POLICY_NAMES, Settings
from examples import publish
from examples.train import RECIPES
from tests import ROOT
from tests.e2e.typing import typed_in

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"^(?: {4}|\t)[^\n]*$|^```.*?^```", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^```text$.*?^```$", re.MULTILINE | re.DOTALL)
"""What a command prints."""
OURS = re.compile(r"^(?:\S*/)?banana-delivery$")
TUTORIAL = ROOT / "docs" / "tutorial.md"


def typed(document: Path) -> Iterator[list[str]]:
    """The words of every command in the blocks of a document."""
    for block in BLOCK.findall(SHOWN.sub("", document.read_text())):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
            lexer.commenters, lexer.whitespace_split = "#", True
            try:
                words = list(lexer)
            except ValueError:
                continue  # No shell would take it: it is no command, but what one prints.
            yield from commands(words)


def commands(words: list[str]) -> Iterator[list[str]]:
    """The single commands of a line."""
    command: list[str] = []
    for word in [*words, ";"]:
        if set(word) <= set(";&|"):
            if command:
                yield command
            command = []
        else:
            command.append(word)


# People put the number of a version where a document says N.
LINES = [
    pytest.param(["7" if word == "N" else word for word in words[1:]], id=f"{document.name}: {shlex.join(words)}")
    for document in DOCUMENTS
    for words in typed(document)
    if OURS.match(words[0]) and len(words) > 1
]


Usage = typer.BadParameter.__mro__[1]
"""Of which all are that a parser says of words which it does not take; typer shows it by no name of its own."""


TUTORIAL_LINES = list(typed(TUTORIAL))


def read(program: typer.Typer, words: list[str]) -> None:
    """What a program does with the words before it does anything else.

    Raises:
        Usage: if it does not take them.
    """
    parser = get_command(program)
    if not isinstance(parser, TyperGroup):
        parser.make_context("program", list(words))
        return
    context = parser.make_context("program", list(words))
    name, command, rest = parser.resolve_command(context, list(words))
    assert command is not None
    command.make_context(name, rest, parent=context)


@pytest.fixture(autouse=True)
def _where_documents_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are typed in the checkout."""
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("words", LINES)
def test_the_command_line_takes_what_documents_tell_people_to_type(words: list[str]) -> None:
    read(app, words)


def test_the_documents_are_full_of_them() -> None:
    assert len(LINES) >= 40


@pytest.mark.parametrize("words", [["rollback", "--because", "x"], ["deliver"], ["rollbock"], ["approve", "1"]])
def test_a_line_that_nobody_can_type_is_found(words: list[str]) -> None:
    with pytest.raises(Usage):
        read(app, words)


class TestTheTutorial:
    """Its other lines, each held against what they are about."""

    def test_every_line_is_of_a_kind_that_is_held_against_something(self) -> None:
        known = {"banana-delivery", "make", "export", "python", "curl"}
        assert {words[0] for words in TUTORIAL_LINES} == known

    def test_whoever_watches_is_told_what_he_waits_for(self) -> None:
        watched = [one for one in typed_in(TUTORIAL.read_text()) if one.is_watched]
        assert len(watched) == 3
        assert all(one.shown and one.missing("") for one in watched)

    def test_its_models_can_be_published_and_looked_at(self) -> None:
        published = [words[3:] for words in TUTORIAL_LINES if words[:3] == ["python", "-m", "examples.publish"]]
        assert len(published) == 3
        for words in published:
            read(publish.app, words)
            assert words[0] in RECIPES
        (checked,) = [words[2] for words in TUTORIAL_LINES if words[:2] == ["banana-delivery", "check"]]
        assert (ROOT / checked).is_file()

    def test_its_addresses_and_its_policy_are_the_defaults_that_it_starts(self) -> None:
        settings = Settings.model_construct()
        exported = dict(word.split("=", 1) for words in TUTORIAL_LINES if words[0] == "export" for word in words[1:])
        assert exported["BANANA_POLICY"] in POLICY_NAMES
        assert exported["MLFLOW_TRACKING_URI"] == settings.mlflow_url
        (asked,) = [words for words in TUTORIAL_LINES if words[0] == "curl"]
        address = urlsplit(asked[-1])
        assert (address.hostname, address.port, address.path) == ("127.0.0.1", settings.production_port, "/predict")
        page = urlsplit(re.findall(r"<(http://[^>]+)>", TUTORIAL.read_text())[0])
        assert (page.port, page.path) == (settings.dagster_port, "/delivery")

    def test_the_image_that_it_sends_is_one_of_those_that_are_generated(self) -> None:
        from banana_delivery.sample_data.leaves import HOLDOUT_SEED

        (asked,) = [words for words in TUTORIAL_LINES if words[0] == "curl"]
        assert asked[2] == f"image=@.banana/holdout/images/leaf-{HOLDOUT_SEED}-00000.jpg"

    def test_the_version_that_it_delivers_again_is_the_second_one_published(self) -> None:
        again = [words[2] for words in TUTORIAL_LINES if words[1] in {"deliver", "override"}]
        assert again == ["2", "2", "2"]
