from __future__ import annotations

import ast
import re
from pathlib import Path

import banana_delivery
from banana_delivery import names

PRODUCT = Path(banana_delivery.__file__).parent
OURS = re.compile(r"banana\.[a-z_-]+(\.[a-z0-9_-]+)?|banana/[a-z_]+|banana-delivery/[a-z-]+|X-Banana-\w+")


def test_no_two_names_are_the_same_thing() -> None:
    values = [value for name, value in vars(names).items() if name.isupper()]

    assert len(values) == len(set(values))


def test_names_that_are_known_outside_stand_in_one_place() -> None:
    # The packages that Dagster loads and what they call still spell some of them.
    packages = ("policy", "targets", "embedded", "images", "model_registry", "notifications", "export", "evaluation")
    spelled = [
        f"{path.relative_to(PRODUCT)}:{node.lineno}: {node.value}"
        for package in packages
        for path in sorted((PRODUCT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and OURS.fullmatch(node.value)
    ]

    assert spelled == []
