"""What the pipeline itself adds to deliveries: real daemon, code server, queue and run processes; the rest is played.

    python -m benchmarks.daemon.deliveries [--staged 100] [--backfilled 20]

First versions are staged one by one, each at some moment after the delivery before has ended: how long it takes from
there to the first user, of the audit trail. Then others are delivered by one backfill: how long it takes from its
launch to the last release, without the time in which assets are being made. What is outside of Dagster (the registry,
exports, images, replicas, answers about labelled images) takes no time; what a delivery waits for by its clock is on
record as if it had been waited for. It writes ``benchmarks/out/deliveries_scale.json`` and fails if a delivery was not
released, if two ran at once, or if it takes longer than the limits below allow.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dagster._core.execution.backfill import PartitionBackfill

from banana_delivery.defs.build import build_defs
from banana_delivery.policy.asset_records import AbRecord, AttemptRecord, StagingRecord
from banana_delivery.policy.scorecard.estimates import Estimate, quantile
from banana_delivery.policy.tracing.spans import Interval
from banana_delivery.runs.audit_log import AB_REPORT
from banana_delivery.runs.lifecycle import Runs
from banana_delivery.runs.partitions import ensure_partition
from banana_delivery.runs.step_times import times_of
from banana_delivery.waiting import wait_until
from benchmarks.daemon.figures import Backfill, FirstUser, backfill, to_first_user
from benchmarks.daemon.outside import Staging
from benchmarks.daemon.stack import Running, playing

OUT = Path(__file__).parents[1] / "out" / "deliveries_scale.json"
STAGED, BACKFILLED = 100, 20
FIRST_BACKFILLED = 201
"""Three digits each: Dagster sorts the partitions of a backfill as text."""
FIRST_USER_SECONDS = 30.0
"""95 of 100 deliveries have to have their first user by then."""
BETWEEN_SECONDS = 15.0
"""So much a backfill may add to a delivery, on average."""
DAEMON_LOOKS_SECONDS = 5.0
"""So long at most is waited before the next version is staged, so that it comes at any moment between two looks."""
DELIVERED_SECONDS = 180.0
"""One delivery that takes longer is stuck."""


def staged(running: Running, versions: int) -> list[FirstUser]:
    """Stage versions one after the other, and see when each had its first user; the very first has nobody before it."""
    staging, moments, found = Staging(running.settings.home), random.Random(17), []
    for number in range(versions + 1):
        version = str(number + 1)
        staging.stage(version)
        attempt = _ended(running, version)
        one = to_first_user(
            attempt,
            _recorded(running, StagingRecord, "staging_release", version),
            _recorded(running, AbRecord, AB_REPORT, version),
        )
        if one is None:
            raise SystemExit(f"The record of version {version} does not say when it had its first user.")
        found.append(one)
        print(
            f"version {version}: first user after {one.whole:.1f} s, {one.own:.1f} s of it the pipeline's", flush=True
        )
        time.sleep(moments.uniform(0.0, DAEMON_LOOKS_SECONDS))
    return found[1:]


def backfilled(running: Running, versions: Sequence[str]) -> Backfill:
    """Deliver versions by one backfill of the five assets, as Dagster's pages launch it."""
    instance, location = running.instance, running.location
    for version in versions:
        ensure_partition(instance, version, location)
    launched = time.time()
    instance.add_backfill(
        PartitionBackfill.from_asset_partitions(
            backfill_id="measured",
            asset_graph=build_defs(running.settings).resolve_asset_graph(),
            partition_names=versions,
            asset_selection=location.keys,
            backfill_timestamp=launched,
            tags={},
            dynamic_partitions_store=instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
    )
    return backfill(launched, [_made(running, _ended(running, version)) for version in versions])


def _ended(running: Running, version: str) -> AttemptRecord:
    """The attempt at a version, once its run has ended, too."""
    attempt = running.released(version, DELIVERED_SECONDS, pause=0.25)
    wait_until(
        lambda: Runs(running.instance, running.location).is_over(attempt.run_id),
        DELIVERED_SECONDS,
        lambda _: RuntimeError(f"The run that delivered version {version} does not end."),
        pause=0.25,
    )
    return attempt


def _made(running: Running, attempt: AttemptRecord) -> Interval:
    """From the begin of the first asset of a delivery to the end of the last one, by Dagster's clock."""
    whole, *assets = times_of(running.instance, running.location, attempt.run_id).values()
    ends = [asset.end for asset in assets if asset.end is not None]
    return Interval(min(asset.start for asset in assets), max(ends) if len(ends) == len(assets) else whole.end)


def _recorded(running: Running, kind: type[Any], asset: str, version: str) -> Any:
    record = running.audit_log.latest(kind, asset, version)
    if record is None:
        raise SystemExit(f"Version {version} has no record of {asset}.")
    return record


def play(staged_versions: int, backfilled_versions: int) -> dict[str, Any]:
    """Deliver both, and tell all figures."""
    with tempfile.TemporaryDirectory() as folder, playing(Path(folder)) as running:
        first_users = staged(running, staged_versions)
        took = backfilled(running, [str(FIRST_BACKFILLED + number) for number in range(backfilled_versions)])
    return report(first_users, took, backfilled_versions)


def report(first_users: Sequence[FirstUser], took: Backfill, versions: int) -> dict[str, Any]:
    """All figures, in seconds.

    Args:
        first_users: of the versions that were staged one by one.
        took: what the backfill took.
        versions: how many it delivered.
    """
    parts = {part: [getattr(one, part) for one in first_users] for part in ("whole", "own")}
    shares = {
        part: {str(share): _plain(quantile(seconds, share)) for share in (0.5, 0.95)} for part, seconds in parts.items()
    }
    return {
        "first_user": {"deliveries": len(first_users), **shares},
        "backfill": {
            **{name: round(value, 2) for name, value in took._asdict().items()},
            "versions": versions,
            "net": round(took.net, 2),
            "net_each": round(took.net / versions, 2),
        },
    }


def _plain(estimate: Estimate) -> dict[str, float | None]:
    """Seconds, and between which two they are."""
    kept = {"seconds": estimate.value, "low": estimate.low, "high": estimate.high}
    return {name: None if value is None else round(value, 2) for name, value in kept.items()}


def table(found: dict[str, Any]) -> str:
    """The figures as two Markdown tables."""
    first, back = found["first_user"], found["backfill"]
    lines = [f"| staged to first user, {first['deliveries']} deliveries | half of them | 95 of 100 |", "|---|---|---|"]
    for part, said in (("own", "without tests and answers in staging"), ("whole", "the whole")):
        lines.append(f"| {said} | {_seconds(first[part]['0.5'])} | {_seconds(first[part]['0.95'])} |")
    lines += ["", f"| a backfill of {back['versions']}, one at a time | |", "|---|---|"]
    lines += [
        f"| from launch to the last release | {back['seconds']:.0f} s |",
        f"| of that, assets being made | {back['deliveries']:.0f} s |",
        f"| the rest, a delivery | {back['net_each']:.1f} s |",
        f"| before the first asset | {back['before_first']:.1f} s |",
        f"| between two deliveries, at most | {back['longest_between']:.1f} s |",
    ]
    return "\n".join(lines)


def _seconds(figure: dict[str, float | None]) -> str:
    low, high = (f"{value:.1f}" if value is not None else "?" for value in (figure["low"], figure["high"]))
    return f"{figure['seconds']:.1f} s ({low} to {high})"


def broken(found: dict[str, Any]) -> list[str]:
    """What is not as it should be, a sentence each."""
    first, back = found["first_user"]["whole"]["0.95"]["seconds"], found["backfill"]
    said = []
    if first > FIRST_USER_SECONDS:
        said.append(f"95 of 100 first users came within {first:.1f} s, and {FIRST_USER_SECONDS:.0f} s are enough.")
    if back["net_each"] > BETWEEN_SECONDS:
        said.append(f"A backfill adds {back['net_each']:.1f} s to a delivery; {BETWEEN_SECONDS:.0f} s are enough.")
    if back["overlapping"]:
        said.append(f"{back['overlapping']} deliveries began before the one before had ended.")
    return said


def main() -> None:
    """Measures, prints tables, writes the figures, and fails if something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--staged", type=int, default=STAGED)
    parser.add_argument("--backfilled", type=int, default=BACKFILLED)
    asked = parser.parse_args()
    found = play(asked.staged, asked.backfilled)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(found, indent=2) + "\n")
    print(table(found))
    if said := broken(found):
        raise SystemExit(" ".join(said))


if __name__ == "__main__":
    main()
