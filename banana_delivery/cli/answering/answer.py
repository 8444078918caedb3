"""``--json`` for every command: one document on standard output, whatever people would be told goes beside it.

A command returns an ``Answer``, which is printed either as its sentence or as its document. One that returns nothing,
or leaves with an exit code, is told by the lines that it printed. What it asks, it asks beside the document. Commands
that document a form of their own take ``as_json`` themselves.
"""

from __future__ import annotations

import functools
import inspect
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import Annotated, Any, get_type_hints

import typer
from rich.console import RenderableType
from typing_extensions import override

from banana_delivery.cli.common import console

FORM = 1
"""Of the documents; it grows when a key goes or means something else."""
FLAG = "--json"
WHILE_JSON = Annotated[bool, typer.Option(FLAG, help="Print one JSON document, for programs.")]


@dataclass(frozen=True)
class Answer:
    """What a command found out or did.

    Attributes:
        document: the same for programs, as JSON takes it.
        shown: for people, in the order in which it is printed; a text is one sentence, neither broken nor marked.
        exit_code: of the command.
    """

    document: Mapping[str, object]
    shown: Sequence[RenderableType] = field(default=())
    exit_code: int = 0


def answering(name: str, command: Callable[..., Answer | None]) -> Callable[..., None]:
    """A command that prints what it returns, with ``--json`` if it has no such option of its own.

    Args:
        name: as it is typed.
        command: as it is written.
    """
    own = "as_json" in inspect.signature(command).parameters

    @functools.wraps(command)
    def told(*arguments: Any, **options: Any) -> None:
        as_json = False if own else options.pop("as_json")
        if not as_json:
            _end(command(*arguments, **options), _show)
            return
        with _beside() as said:
            answer, code = _answered(command, *arguments, **options)
        found = answer or Answer({"said": said.getvalue().splitlines()}, exit_code=code)
        _end(found, lambda one: typer.echo(json.dumps({"form": FORM, "command": name, **one.document}, indent=2)))

    if not own:
        parameters = inspect.signature(command, eval_str=True).parameters.values()
        option = inspect.Parameter("as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=WHILE_JSON)
        told.__signature__ = inspect.Signature([*parameters, option])  # type: ignore[attr-defined]
        told.__annotations__ = {**get_type_hints(command, include_extras=True), "as_json": WHILE_JSON, "return": None}
    return told


def _answered(command: Callable[..., Answer | None], *arguments: Any, **options: Any) -> tuple[Answer | None, int]:
    """What a command returns, or with which code it leaves without a word."""
    try:
        return command(*arguments, **options), 0
    except typer.Exit as left:
        return None, left.exit_code


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether a program reads the answer, as far as that can be told before the arguments are understood."""
    return FLAG in [*arguments, "--"][: [*arguments, "--"].index("--")]


def error_document(sentence: str) -> str:
    """What went wrong, for a program."""
    return json.dumps({"form": FORM, "error": sentence}, indent=2)


def _end(answer: Answer | None, tell: Callable[[Answer], None]) -> None:
    if answer is None:
        return
    tell(answer)
    if answer.exit_code:
        raise typer.Exit(answer.exit_code)


def _show(answer: Answer) -> None:
    for one in answer.shown:
        if isinstance(one, str):
            console.print(one, soft_wrap=True, highlight=False, markup=False)
        else:
            console.print(one)


class _Both(io.StringIO):
    """Standard error, and a copy of what was written to it."""

    @override
    def write(self, text: str) -> int:
        sys.stderr.write(text)
        return super().write(text)


@contextmanager
def _beside() -> Iterator[io.StringIO]:
    """Let what people are told and asked meanwhile go to standard error, and keep what they are told."""
    said, wrapped = _Both(), console.soft_wrap
    console.file, console.soft_wrap = said, True
    try:
        with redirect_stdout(sys.stderr):
            yield said
    finally:
        # Whatever standard output is by then.
        console.file, console.soft_wrap = None, wrapped  # type: ignore[assignment]
