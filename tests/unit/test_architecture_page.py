"""The page about the architecture says what the code is: its layers, the road of a version, where things are added."""

from __future__ import annotations

import ast
import re

import pytest

from tests import ROOT
from tests.unit.test_layers import HOMES, LAYERS, MODULES, imported, part_of

PAGE = (ROOT / "docs" / "architecture.md").read_text()
LONGEST_ROAD = 24
"""Files from the sensor to the weight change, so that somebody can read them all in an afternoon."""
ADDED = {
    "a target",
    "a kind of image store",
    "an acceptance test",
    "a blocking check",
    "a rollout test (statistics)",
    "a message",
    "a notification rule",
    "an outcome",
    "a setting",
    "a manifest",
}


def section(heading: str) -> str:
    """What stands below a heading, up to the next one."""
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def block(heading: str) -> list[str]:
    """The lines of the only fenced block below a heading."""
    (found,) = re.findall(r"^```text\n(.*?)^```$", section(heading), re.MULTILINE | re.DOTALL)
    return str(found).splitlines()


ROAD = [line.split(maxsplit=1) for line in block("The road of a version")]
FILES = [file for file, _ in ROAD]
PLACES = dict(re.findall(r"^\| (an? [^|]+) \| `([^`]+)` \|", section("Where do I add ..."), re.MULTILINE))


def module(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")


def imports(file: str, other: str) -> bool:
    """Whether a file imports another one, as a module or a name of it."""
    source = (ROOT / file).read_text()
    parent, _, name = module(other).rpartition(".")
    beside = any(
        isinstance(node, ast.ImportFrom) and node.module == parent and name in {alias.name for alias in node.names}
        for node in ast.walk(ast.parse(source))
    )
    return beside or module(other) in imported(source)


def stray(file: str, saying: str, above: list[str]) -> str:
    """Why a file does not belong where the road has it; empty if it does."""
    if behind := re.fullmatch(r"behind (\S+)", saying):
        interface = behind[1]
        if interface not in above:
            return f"{file} stands behind {interface}, which is not above it."
        return "" if imports(file, interface) else f"{file} does not implement {interface}."
    return "" if not above or any(imports(one, file) for one in above) else f"Nothing above imports {file}."


def test_the_road_is_short_and_its_files_exist() -> None:
    assert 10 < len(FILES) <= LONGEST_ROAD
    assert len(set(FILES)) == len(FILES)
    assert [file for file in FILES if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize("number", range(len(ROAD)), ids=FILES)
def test_each_file_of_the_road_is_reached_from_above(number: int) -> None:
    file, saying = ROAD[number]
    assert stray(file, saying, FILES[:number]) == ""


@pytest.mark.parametrize(
    ("file", "saying", "above"),
    [
        ("banana_delivery/defs/sensors.py", "too early", ["banana_delivery/defs/jobs.py"]),
        ("banana_delivery/embedded/target.py", "behind banana_delivery/targets/base.py", ["banana_delivery/names.py"]),
        ("banana_delivery/files.py", "behind banana_delivery/targets/base.py", ["banana_delivery/targets/base.py"]),
    ],
)
def test_the_rule_of_the_road_sees_a_stray(file: str, saying: str, above: list[str]) -> None:
    assert stray(file, saying, above)


def test_the_road_leads_from_the_sensor_to_every_weight_change() -> None:
    shift, *changes = (
        "banana_delivery/delivery/traffic_shift.py",
        "banana_delivery/embedded/router/traefik.py",
        "banana_delivery/targets/kubernetes/gateway.py",
    )
    assert FILES.index("banana_delivery/defs/sensors.py") < FILES.index(shift)
    assert all(FILES.index(shift) < FILES.index(change) for change in changes)


def test_the_layers_drawn_are_those_that_the_test_holds() -> None:
    drawn = [set(line.split(" | ")) for line in block("Layers")]
    assert drawn == [set(layer) for layer in LAYERS]


def test_every_home_of_a_framework_is_named() -> None:
    told = section("Layers")
    assert all(f"`{home}`" in told for homes in HOMES.values() for home in homes)


def test_every_package_is_named() -> None:
    packages = {str(path.parent.relative_to(ROOT / "banana_delivery")) for path in MODULES if path.stem == "__init__"}
    assert {part_of(path) for path in MODULES if path.stem == "__init__"} <= {
        part for layer in LAYERS for part in layer
    }
    assert packages == set(
        re.findall(r"`([a-z_/]+)`", "\n".join(re.findall(r"^\| ([^|]+) \|", section("Layers"), re.M)))
    )


def test_everything_one_may_add_has_one_place_that_exists() -> None:
    assert set(PLACES) == ADDED
    assert [place for place in PLACES.values() if not (ROOT / place).exists()] == []


def test_every_file_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`((?:[a-z_0-9]+/)+[a-z_0-9]*(?:\.py)?)`", PAGE))
    missing = {name for name in named if not any((base / name).exists() for base in (ROOT, ROOT / "banana_delivery"))}
    assert (len(named) > 20, missing) == (True, set())
