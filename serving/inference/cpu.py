"""How many CPUs this process may really use."""

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def _numbers(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def cgroup_limit(root: Path = _CGROUP) -> float | None:
    """Returns the container's CPU limit in CPUs, from cgroup v2 or v1; None when there is none."""
    v2 = _numbers(root / "cpu.max")
    v1 = _numbers(root / "cpu/cpu.cfs_quota_us") + _numbers(root / "cpu/cpu.cfs_period_us")
    for quota, period in (pair for pair in (v2, v1) if len(pair) == 2):
        if quota not in {"max", "-1"} and float(period) > 0:
            return float(quota) / float(period)
    return None


def usable_cpus(root: Path = _CGROUP) -> int:
    """Returns the whole CPUs to plan for, at least 1.

    A fraction is rounded down: one worker too many would only be throttled, in the middle of somebody's request.
    """
    affinity = len(os.sched_getaffinity(0))
    limit = cgroup_limit(root)
    return affinity if limit is None else max(1, min(affinity, int(limit)))


_CPU_FACTS = Path("/proc/cpuinfo")
_FOR_INTEGERS = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp")
"""Instructions that add up products of 8-bit integers, as Linux calls them, the fastest first."""


def integer_instructions(facts: Path = _CPU_FACTS) -> str:
    """Returns the best one that this CPU has; empty if there is none, and int8 then gains little over f32."""
    has = set(_numbers(facts))
    return next((name for name in _FOR_INTEGERS if name in has), "")
