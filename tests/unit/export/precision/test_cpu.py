"""Which kind of CPU this is."""

from __future__ import annotations

from pathlib import Path

from banana_delivery.export.precision.cpu import MOST, kind_of_cpu

OLDER = "processor : 0\nmodel name : AMD EPYC\nflags : fpu sse4_2 avx2\n"
NEWER = "processor : 0\nmodel name : AMD EPYC\nflags : fpu sse4_2 avx2 avx512_vnni\n"


def kind(folder: Path, facts: str) -> str:
    (folder / "cpuinfo").write_text(facts)
    return kind_of_cpu(folder / "cpuinfo")


def test_one_kind_is_told_from_another_by_its_instructions_and_not_by_how_many_there_are(tmp_path: Path) -> None:
    assert kind(tmp_path, NEWER) != kind(tmp_path, OLDER)
    assert kind(tmp_path, NEWER * 4) == kind(tmp_path, NEWER)
    assert "AMD EPYC" in kind(tmp_path, NEWER)


def test_an_arm_and_a_machine_that_tells_nothing_are_kinds_as_well(tmp_path: Path) -> None:
    assert "0xd0c" in kind(tmp_path, "processor : 0\nFeatures : asimddp\nCPU part : 0xd0c\n")
    assert kind_of_cpu(tmp_path / "none")


def test_it_is_one_short_line(tmp_path: Path) -> None:
    found = kind(tmp_path, f"model name : {'x' * 500}\x1b[0m\nflags : a\n")
    assert len(found) <= MOST
    assert found.isprintable()
