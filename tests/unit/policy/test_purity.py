"""The policy takes facts and returns decisions: it reaches no clock, no disk, no network and no framework."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import banana_delivery.policy

ALLOWED = {
    "__future__",
    "banana_delivery",
    "collections",
    "dataclasses",
    "enum",
    "fractions",
    "functools",
    "hashlib",
    "itertools",
    "math",
    "numpy",
    "operator",
    "pydantic",
    "pydantic_core",
    "re",
    "scipy",
    "shlex",
    "statistics",
    "string",
    "types",
    "typing",
    "typing_extensions",
}
EFFECTS = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint"}
FRAMEWORKS = {"dagster", "kubernetes", "docker", "mlflow", "httpx", "requests", "torch", "ultralytics"}
POLICY = Path(banana_delivery.policy.__file__).parent
MODULES = sorted(POLICY.glob("**/*.py"))


def imported(tree: ast.AST) -> set[str]:
    """Every module that a file imports, anywhere in it, by full name."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(f"{'.' * node.level}{node.module}")
            names |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "banana_delivery"}
    return names


def offences(source: str) -> set[str]:
    """What a policy file may not do: foreign imports, parts of the product outside policy, built-ins with effects."""
    tree = ast.parse(source)
    names = imported(tree)
    foreign = {name for name in names if name.split(".")[0] not in ALLOWED}
    outside = {
        name for name in names if name.startswith("banana_delivery.") and not name.startswith("banana_delivery.policy")
    }
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in EFFECTS
    }
    return foreign | outside | called


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_policy_imports_nothing_with_side_effects(path: Path) -> None:
    assert offences(path.read_text()) == set()


@pytest.mark.parametrize(
    ("source", "offence"),
    [
        ("import time", "time"),
        ("from pathlib import Path", "pathlib"),
        ("def late():\n    import subprocess", "subprocess"),
        ("from banana_delivery.targets.base import Claim", "banana_delivery.targets.base"),
        ("from banana_delivery import settings", "banana_delivery.settings"),
        ("from . import records", "."),
        ("open('state.json')", "open"),
    ],
)
def test_the_ban_sees_what_it_bans(source: str, offence: str) -> None:
    assert any(found.startswith(offence) for found in offences(source))


def test_loading_the_policy_loads_no_framework() -> None:
    relative = [path.relative_to(POLICY).with_suffix("") for path in MODULES if path.stem != "__init__"]
    names = [".".join(("banana_delivery.policy", *path.parts)) for path in relative]
    code = (
        f"import importlib, sys; [importlib.import_module(name) for name in {names}]; "
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert FRAMEWORKS.isdisjoint(loaded)
    assert "pydantic" in loaded
