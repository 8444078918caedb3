"""Playing the demonstration from an empty folder to the closing table, with a live view of who has the traffic.

It is played where nobody else has anything: on the embedded stack, or in namespaces of its own on a cluster.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from banana_delivery.defs.build import build_resources
from banana_delivery.defs.resources import Resources
from banana_delivery.demo.cluster import NAMESPACES, DemoCluster
from banana_delivery.demo.scenario import SCENARIOS, Scenario, faults
from banana_delivery.demo.summary import DeliverySummary, Ending, Summary, outside, table, told, write
from banana_delivery.embedded.stack import EmbeddedStack
from banana_delivery.errors import DemoError
from banana_delivery.evaluation.http import HttpEvaluator
from banana_delivery.evaluation.probe import LoadCounts, Probe
from banana_delivery.model_registry.publish import publish
from banana_delivery.names import ACTOR_TAG
from banana_delivery.platforms import platform
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import COLOURS, Environment, RolloutRecord
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.client import DagsterClient
from banana_delivery.runs.code_location import PIPELINE, CodeLocation
from banana_delivery.runs.instance import open_instance
from banana_delivery.sample_data.models import sample_run
from banana_delivery.settings import Settings
from banana_delivery.waiting import wait_until

CLIENT_RATE = 20.0
"""Client requests a second on production; two cores also build, test and measure meanwhile."""


def run_demo(
    settings: Settings, console: Console, summary_file: Path | None, gateway: str = ""
) -> tuple[Summary, bool]:
    """Play all acts in a folder of their own, on the configured ports or on a cluster.

    Args:
        settings: what it is played with.
        console: where it is shown.
        summary_file: where the figures go, if anywhere.
        gateway: where a cluster's Gateway answers.

    Returns:
        The figures, and whether every act ended as told and no client request failed outside a deliberately broken
        release.
    """
    shown = demo_settings(settings)
    resources = build_resources(shown)
    stack = EmbeddedStack(shown, platform(shown).processes(shown))
    stack.down(console.print)
    shutil.rmtree(shown.home, ignore_errors=True)
    with empty_place(shown, gateway, console.print):
        try:
            stack.up(console.print)
            console.print(f"Watch it live: Dagster {shown.dagster_url}, MLflow {shown.mlflow_url}")
            endings, summary = _run_scenarios(resources, console)
        finally:
            stack.down(console.print)
    console.print(table(endings))
    console.print(
        f"{summary.requests:,} client requests; {summary.failed_outside_faulty_colour} failed outside the release "
        "that was broken on purpose."
    )
    if summary_file:
        write(summary, summary_file)
    return summary, all(ending.as_told for ending in endings) and summary.failed_outside_faulty_colour == 0


def _run_scenarios(resources: Resources, console: Console) -> tuple[list[Ending], Summary]:
    images = HttpEvaluator(resources.settings).images
    endings: list[Ending] = []
    with (
        open_instance(resources.settings) as instance,
        Probe(resources.release_target.url(Environment.PRODUCTION), images) as clients,
        Live(console=console, refresh_per_second=4, transient=True) as live,
    ):
        runner = ScenarioRunner(resources, AuditLog(instance, CodeLocation.of(resources.settings)), [])
        faulty: set[str] = set()
        for number, scenario in enumerate(SCENARIOS, start=1):
            ending, digest = _run_scenario(runner, f"{number}. {scenario.title}", scenario, clients, live)
            endings.append(ending)
            if scenario.fault:
                faulty.add(digest)
            console.print(f"{ending.title}: {ending.delivery.outcome}. {ending.delivery.reason}")
        lost = outside(clients.failed_requests(), faulty)
        sent = clients.counts().sent
    for failure in lost:
        console.print(told(failure), style="red", highlight=False)
    deliveries = tuple(ending.delivery for ending in endings)
    summary = Summary(deliveries=deliveries, requests=sent, failed_outside_faulty_colour=len(lost))
    return endings, summary


def _run_scenario(
    runner: ScenarioRunner, title: str, scenario: Scenario, clients: Probe, live: Live
) -> tuple[Ending, str]:
    since, before = time.time(), clients.counts()
    version = runner.begin(scenario)

    def frame() -> None:
        _start_clients(runner.resources, clients)
        target = runner.resources.release_target
        live.update(
            view(
                title,
                time.time() - since,
                target.record(Environment.STAGING),
                target.record(Environment.PRODUCTION),
                clients.counts(),
            )
        )

    attempt = runner.wait(version, since, frame)
    after = clients.counts()
    delivery = DeliverySummary(
        version=version,
        outcome=attempt.outcome,
        reason=attempt.reason,
        seconds=round(attempt.at - since, 1),
        requests=after.sent - before.sent,
        failed=after.failed - before.failed,
        rollback_seconds=attempt.rollback_seconds,
    )
    return Ending(title=title, expected=scenario.outcome, delivery=delivery), attempt.digest


def _start_clients(resources: Resources, clients: Probe) -> None:
    """Clients ask as soon as the router leads them somewhere; the record says so a moment earlier."""
    target = resources.release_target
    if clients.counts().sent == 0 and any(target.record(Environment.PRODUCTION).weights.values()):
        clients.set_rate(CLIENT_RATE if any(target.observed(Environment.PRODUCTION).weights.values()) else 0.0)


LONGEST_ACT_SECONDS = 480.0
FRAME_SECONDS = 0.5


@dataclass
class ScenarioRunner:
    """Plays acts on a running stack.

    Attributes:
        resources: the stack's parts, to look at.
        audit_log: the stack's audit trail.
        versions: the version of each act played so far.
    """

    resources: Resources
    audit_log: AuditLog
    versions: list[str]

    def begin(self, scenario: Scenario) -> str:
        """Stage a sample, or launch the backfill; from here on nobody touches anything.

        Returns:
            The version that is delivered.
        """
        if scenario.sample:
            checkpoint, metrics, params = sample_run(scenario.sample)
            version = publish(
                checkpoint,
                model_name=self.resources.settings.model_name,
                metrics=metrics,
                params=params,
                tracking_uri=self.resources.settings.mlflow_url,
            )
        else:
            version = self.versions[scenario.redeploys - 1]
            settings = self.resources.settings
            client = DagsterClient(
                settings.dagster_url, CodeLocation.of(settings), settings.pages_token.get_secret_value()
            )
            client.backfill(PIPELINE, [version], {ACTOR_TAG: "demo"})
        self.versions.append(version)
        return version

    def wait(self, version: str, since: float, frame: Callable[[], None]) -> AttemptRecord:
        """Wait for the line in the audit trail.

        Args:
            version: what is being delivered.
            since: only attempts that ended after this count, seconds since the epoch.
            frame: draws one frame of the live view.

        Raises:
            DemoError: if there is none in time.
        """
        return wait_until(
            lambda: [one for one in self.audit_log.attempts(version) if one.at > since],
            LONGEST_ACT_SECONDS,
            lambda _: DemoError(
                f"Version {version} was not delivered within {LONGEST_ACT_SECONDS:.0f} s; "
                f"look at {self.resources.settings.dagster_url}/runs"
            ),
            pause=FRAME_SECONDS,
            meanwhile=frame,
        )[0]


def demo_settings(settings: Settings) -> Settings:
    """The settings of the demonstration: a folder of its own, and on a cluster namespaces of its own."""
    own = {
        "home": settings.home / "demo",
        "policy": "demo",
        "plan": "demo",
        "drill_faults": faults(SCENARIOS),
        "kubernetes_staging_context": "",
        "kubernetes_staging_namespace": NAMESPACES[Environment.STAGING],
        "kubernetes_production_context": "",
        "kubernetes_production_namespace": NAMESPACES[Environment.PRODUCTION],
        "kubernetes_routing": "gateway",
    }
    return settings.model_copy(update=own)


@contextmanager
def empty_place(settings: Settings, gateway: str, progress: Callable[[str], None]) -> Iterator[None]:
    """Make the namespaces before the block and remove it after it; the embedded stack brings its own.

    Raises:
        DemoError: if the cluster cannot be used, or what is there is not the demonstration's.
    """
    if platform(settings).is_ours:
        yield
        return
    cluster = DemoCluster(gateway, progress)
    cluster.prepare()
    try:
        yield
    finally:
        cluster.remove()


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
