import os
from pathlib import Path

import pytest

from serving.inference.cpu import cgroup_limit, integer_instructions, usable_cpus


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
    ],
)
def test_the_limit_is_read_from_either_version_of_cgroups(
    tmp_path: Path, files: dict[str, str], limit: float | None
) -> None:
    assert cgroup_limit(write(tmp_path, files)) == limit


def test_workers_never_exceed_the_limit_and_are_never_none(tmp_path: Path) -> None:
    assert usable_cpus(write(tmp_path / "a", {"cpu.max": "50000 100000"})) == 1
    assert usable_cpus(write(tmp_path / "b", {"cpu.max": "9900000 100000"})) == len(os.sched_getaffinity(0))
    assert usable_cpus(tmp_path / "none") == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("facts", "best"),
    [
        ("flags : fpu avx2 avx512f avx512_vnni avx512_bf16", "avx512_vnni"),
        ("flags : fpu avx2 avx_vnni", "avx_vnni"),
        ("flags : avx512_vnni amx_tile amx_int8", "amx_int8"),
        ("Features : fp asimd asimddp i8mm", "i8mm"),
        ("flags : fpu sse4_2 avx2", ""),
        ("", ""),
    ],
)
def test_what_a_cpu_has_for_integers(tmp_path: Path, facts: str, best: str) -> None:
    (tmp_path / "cpuinfo").write_text(facts)
    assert integer_instructions(tmp_path / "cpuinfo") == best
    assert integer_instructions(tmp_path / "none") == ""
