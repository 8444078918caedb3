"""The layers: an upper package may import a lower one, never the reverse, and each framework has one home."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import banana_delivery

PRODUCT = Path(banana_delivery.__file__).parent
LAYERS = (
    {"cli", "definitions"},
    {"demo"},
    {"defs"},
    {"delivery"},
    {"reports"},
    {"runs", "platforms"},
    {"embedded", "export", "publishing"},
    {"targets", "images", "model_registry", "evaluation", "notifications", "policies", "telemetry"},
    {"policy", "sample_data"},
    {
        "settings",
        "setting_groups",
        "setting_errors",
        "ports",
        "names",
        "errors",
        "files",
        "waiting",
        "bundle",
        "quoting",
        "secrecy",
    },
)
"""From the top down. Packages of one layer do not know each other, but in the last, which holds single files."""
HOMES = {
    "dagster": {"defs", "runs"},
    "dagster_k8s": {"runs"},
    "dagster_webserver": {"runs"},
    "kubernetes": {"targets/kubernetes"},
    "docker": {"images/docker"},
    "opentelemetry": {"telemetry"},
    "mlflow": {"model_registry"},
    "torch": {"export"},
    "ultralytics": {"export"},
}
"""Where each framework may be imported."""
MOST_MODULES = 11
"""In one folder, beside its doorplate."""
LONGEST_MODULE = 380


def layer_of(part: str) -> int:
    """The place of a package or top module, counted from the top."""
    return next(number for number, layer in enumerate(LAYERS) if part in layer)


def imported(source: str) -> set[str]:
    """Every module that a file imports, anywhere in it, by full name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "Relative imports hide what is imported."
            names.add(str(node.module))
            if node.module == "banana_delivery":
                names |= {f"banana_delivery.{alias.name}" for alias in node.names}
    return names


def offences(part: str, source: str) -> set[str]:
    """What a file of a package may not import: what stands above it, or beside it in a layer of packages."""
    own, wrong = layer_of(part), set()
    for name in imported(source):
        if name.startswith("banana_delivery.") and (other := name.split(".")[1]) != part:
            theirs = layer_of(other)
            if theirs < own or (theirs == own < len(LAYERS) - 1):
                wrong.add(name)
    return wrong


def part_of(path: Path) -> str:
    return path.relative_to(PRODUCT).parts[0].removesuffix(".py")


MODULES = sorted(path for path in PRODUCT.rglob("*.py") if path.parent != PRODUCT or path.stem != "__init__")
MODULES = [
    path for path in MODULES if "bundle" not in path.relative_to(PRODUCT).parts[:-1] or path.parent.name == "bundle"
]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PRODUCT)))
def test_a_module_imports_nothing_from_above_or_beside_it(path: Path) -> None:
    assert offences(part_of(path), path.read_text()) == set()


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("policy", "from banana_delivery.targets.base import Claim"),
        ("targets", "def late():\n    from banana_delivery.embedded import target"),
        ("images", "import banana_delivery.targets.base"),
        ("runs", "from banana_delivery import defs"),
        ("waiting", "from banana_delivery.policy.model import Phase"),
    ],
)
def test_the_rule_sees_what_it_forbids(part: str, source: str) -> None:
    assert offences(part, source)


@pytest.mark.parametrize(
    ("part", "source"), [("defs", "import banana_delivery.names"), ("settings", "import banana_delivery.bundle")]
)
def test_the_rule_lets_pass_what_goes_down(part: str, source: str) -> None:
    assert not offences(part, source)


@pytest.mark.parametrize("framework", HOMES)
def test_a_framework_is_imported_in_one_place(framework: str) -> None:
    strangers = {
        str(path.relative_to(PRODUCT))
        for path in MODULES
        if any(name.split(".")[0] == framework for name in imported(path.read_text()))
        and not any(str(path.relative_to(PRODUCT)).startswith(f"{home}/") for home in HOMES[framework])
    }
    assert strangers == set()


@pytest.mark.parametrize("root", ["banana_delivery", "serving"])
def test_no_folder_is_a_hall_and_no_file_a_book(root: str) -> None:
    top = PRODUCT.parent / root
    modules = [path for path in top.rglob("*.py") if "bundle" not in path.relative_to(top).parts[:-1]]
    folders = {path.parent for path in modules}
    full = {
        str(folder.relative_to(top)): count
        for folder in folders
        if (count := sum(path.parent == folder and path.stem != "__init__" for path in modules)) > MOST_MODULES
    }
    long = {str(path): lines for path in modules if (lines := len(path.read_text().splitlines())) > LONGEST_MODULE}
    assert (full, long) == ({}, {})


def test_every_package_has_a_doorplate() -> None:
    bare = [
        str(path.relative_to(PRODUCT))
        for path in MODULES
        if path.stem == "__init__" and len((ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()) < 3
    ]
    assert bare == []
