from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import banana_delivery
from banana_delivery import cli, errors
from banana_delivery.errors import BananaDeliveryError, GateError, UnsafeModelError

PRODUCT = Path(banana_delivery.__file__).parent
KINDS = {name: kind for name, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__}


def test_every_error_stands_under_one_root_and_in_the_tree_on_the_page() -> None:
    drawn = re.findall(r"\w+Error\b", (errors.__doc__ or "").split("Each message")[0].split("\n", 1)[1])

    assert all(issubclass(kind, BananaDeliveryError) for kind in KINDS.values())
    assert sorted(drawn) == sorted(KINDS)


def test_no_other_module_keeps_an_error_for_people() -> None:
    elsewhere = [
        f"{path.relative_to(PRODUCT)}: {node.name}"
        for path in sorted(PRODUCT.rglob("*.py"))
        if path.name != "errors.py" or path.parent != PRODUCT
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error") and not node.name.startswith("_")
    ]

    assert elsewhere == []


@pytest.mark.parametrize("kind", [GateError, UnsafeModelError])
def test_the_command_line_says_any_of_them_as_one_sentence(
    kind: type[BananaDeliveryError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise kind("It cannot be done.")

    monkeypatch.setattr(cli.entry, "app", fail)

    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert capsys.readouterr().err.strip() == "It cannot be done."
