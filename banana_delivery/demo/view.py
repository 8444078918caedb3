"""The live view: where the delivery stands, who has the traffic, what the clients get."""

from __future__ import annotations

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from banana_delivery.policy.records import COLOURS, Environment, RolloutRecord
from banana_delivery.traffic.tally import LoadCounts

STYLES = {"blue": "blue", "green": "green"}


def view(title: str, seconds: float, staging: RolloutRecord, production: RolloutRecord, load: LoadCounts) -> Group:
    """One frame."""
    phase = production.phase if production.owner else staging.phase
    traffic = Table.grid(padding=(0, 1))
    for colour in COLOURS[Environment.PRODUCTION]:
        deployment = production.deployments.get(colour)
        weight = production.weights.get(colour, 0)
        runs = f"version {deployment.image.version} x{deployment.replicas}" if deployment else "empty"
        bar = ProgressBar(total=100, completed=weight, width=40, complete_style=STYLES[colour])
        traffic.add_row(f"{colour:>6}", bar, f"{weight:3d} %", runs)
    answered = f"{load.answered:,} of {load.sent:,} client requests answered, {load.failed:,} failed"
    return Group(Text(f"{title}  [{seconds:4.0f} s]  {phase}", style="bold"), traffic, Text(answered, style="dim"))
