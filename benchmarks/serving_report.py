"""From runs to figures: medians of ratios between runs that followed each other, and a table of everyone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np

Run = dict[str, Any]
Pair = tuple[Run, Run]
"""A run of ours and the other's run that it is compared with, minutes of a busy machine apart at most."""


def ratio(pairs: Sequence[Pair], of: Callable[[Run], float]) -> float:
    """Median over pairs of what `of` says of ours, over what it says of the other."""
    return round(median(of(ours) / of(other) for ours, other in pairs), 3)


def per_second(run: Run) -> float:
    """Requests completed a second."""
    return float(run["per_second"])


def p50(run: Run) -> float:
    """Median latency in milliseconds."""
    return float(np.quantile(run["latencies_ms"], 0.5))


def p99(run: Run) -> float:
    """99th percentile of latency in milliseconds."""
    return float(np.quantile(run["latencies_ms"], 0.99))


def server_ms(run: Run) -> float:
    """Milliseconds of CPU time the server itself took for a request, in all its threads."""
    return float(run["server_ms"])


def per_core_second(run: Run) -> float:
    """Requests for each second of core time nobody else used; on a quiet machine this is the throughput a core."""
    return 1000.0 / float(run["core_ms"])


def per_core_second_without_client(run: Run) -> float:
    """The same, had the client run on another machine: its CPU time (user and system, of its process) is taken off."""
    return 1000.0 / float(run["core_ms"] - run["client_ms"])


def over_limit(pairs: dict[int, list[Pair]]) -> dict[str, Any]:
    """Ours over the bare loop, by concurrency.

    The bare loop is its own client, so nothing may be taken off it.
    """
    return {
        "ours_over_limit": {str(c): ratio(each, per_second) for c, each in pairs.items()},
        "ours_over_limit_by_core_time": {str(c): ratio(each, per_core_second) for c, each in pairs.items()},
        "ours_over_limit_net_of_client": {
            str(c): round(
                median(per_core_second_without_client(ours) / per_core_second(bare) for ours, bare in each), 3
            )
            for c, each in pairs.items()
        },
    }


def summary(runs: Sequence[Run]) -> dict[str, float]:
    """All runs of one server at one concurrency as one."""
    latencies = [value for run in runs for value in run["latencies_ms"]]
    p50, high = np.quantile(latencies, [0.5, 0.99])
    return {
        "requests": len(latencies),
        "errors": sum(run.get("errors", 0) for run in runs),
        "per_second": round(median(run["per_second"] for run in runs), 1),
        "p50_ms": round(float(p50), 1),
        "p99_ms": round(float(high), 1),
        "core_ms": round(median(run["core_ms"] for run in runs), 2),
        "client_ms": round(median(run["client_ms"] for run in runs), 2),
        "others_cores": round(median(run["others_cores"] for run in runs), 2),
    }


def table(report: dict[str, Any], concurrencies: Sequence[int]) -> str:
    """The figures as a Markdown table."""
    heads = [f"at {c}: images/s, p50, p99" for c in concurrencies]
    lines = [f"| server | {' | '.join(heads)} | peak MB | first answer |", "|---|" + "---|" * (len(heads) + 2)]
    for name, result in report["results"].items():
        if "error" in result:
            lines.append(f"| {name} | did not run: {result['error']} |" + " |" * (len(heads) + 1))
            continue
        runs = [result["runs"][str(c)] for c in concurrencies]
        cells = [f"{run['per_second']:.0f}, {run['p50_ms']:.0f} ms, {run['p99_ms']:.0f} ms" for run in runs]
        last = f"{result['peak_rss_mb']} | {result['first_answer_seconds']:.1f} s"
        lines.append(f"| {name} | {' | '.join(cells)} | {last} |")
    bare = report["limit"]
    return "\n".join([*lines, f"| bare loop, no HTTP | {bare['per_second']:.0f} |" + " |" * (len(heads) + 1)])
