"""Playing the demonstration from an empty folder to the closing table."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from rich.console import Console
from rich.live import Live

from banana_delivery.build import build_services
from banana_delivery.demo.acts import ACTS, Act
from banana_delivery.demo.place import demo_settings, empty_place
from banana_delivery.demo.stage import Stage
from banana_delivery.demo.summary import DeliverySummary, Ending, Summary, outside, table, told, write
from banana_delivery.demo.view import view
from banana_delivery.instance import open_instance
from banana_delivery.policy.records import Environment
from banana_delivery.services import Services
from banana_delivery.settings import Settings
from banana_delivery.stack.embedded import EmbeddedStack
from banana_delivery.traffic.http_evidence import HttpEvidence
from banana_delivery.traffic.probe import Probe

CLIENT_RATE = 20.0
"""Client requests a second on production; two cores also build, test and measure meanwhile."""


def play(settings: Settings, console: Console, summary_file: Path | None, gateway: str = "") -> bool:
    """Play all acts in a folder of their own, on the configured ports or on a cluster.

    Args:
        settings: what it is played with.
        console: where it is shown.
        summary_file: where the figures go, if anywhere.
        gateway: where a cluster's Gateway answers.

    Returns:
        Whether every act ended as told and no client request failed outside a deliberately broken release.
    """
    shown = demo_settings(settings)
    services = build_services(shown)
    stack = EmbeddedStack(shown)
    stack.down(console.print)
    shutil.rmtree(shown.home, ignore_errors=True)
    with empty_place(shown, gateway, console.print):
        try:
            stack.up(console.print)
            console.print(f"Watch it live: Dagster {shown.dagster_url}, MLflow {shown.mlflow_url}")
            endings, summary = _play_acts(services, console)
        finally:
            stack.down(console.print)
    console.print(table(endings))
    console.print(
        f"{summary.requests:,} client requests; {summary.failed_outside_faulty_colour} failed outside the release "
        "that was broken on purpose."
    )
    if summary_file:
        write(summary, summary_file)
    return all(ending.as_told for ending in endings) and summary.failed_outside_faulty_colour == 0


def _play_acts(services: Services, console: Console) -> tuple[list[Ending], Summary]:
    images = HttpEvidence(services.settings).images
    endings: list[Ending] = []
    with (
        open_instance(services.settings) as instance,
        Probe(services.target.url(Environment.PRODUCTION), images) as clients,
        Live(console=console, refresh_per_second=4, transient=True) as live,
    ):
        stage = Stage(services, instance, [])
        faulty: set[str] = set()
        for number, act in enumerate(ACTS, start=1):
            ending, digest = _play_act(stage, f"{number}. {act.title}", act, clients, live)
            endings.append(ending)
            if act.fault:
                faulty.add(digest)
            console.print(f"{ending.title}: {ending.delivery.outcome}. {ending.delivery.reason}")
        lost = outside(clients.failed_requests(), faulty)
        sent = clients.counts().sent
    for failure in lost:
        console.print(told(failure), style="red", highlight=False)
    deliveries = tuple(ending.delivery for ending in endings)
    summary = Summary(deliveries=deliveries, requests=sent, failed_outside_faulty_colour=len(lost))
    return endings, summary


def _play_act(stage: Stage, title: str, act: Act, clients: Probe, live: Live) -> tuple[Ending, str]:
    since, before = time.time(), clients.counts()
    version = stage.begin(act)

    def frame() -> None:
        _start_clients(stage.services, clients)
        target = stage.services.target
        live.update(
            view(
                title,
                time.time() - since,
                target.record(Environment.STAGING),
                target.record(Environment.PRODUCTION),
                clients.counts(),
            )
        )

    attempt = stage.wait(version, since, frame)
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
    return Ending(title=title, expected=act.outcome, delivery=delivery), attempt.digest


def _start_clients(services: Services, clients: Probe) -> None:
    """Clients ask as soon as the router leads them somewhere; the record says so a moment earlier."""
    target = services.target
    if clients.counts().sent == 0 and any(target.record(Environment.PRODUCTION).weights.values()):
        clients.set_rate(CLIENT_RATE if any(target.observed(Environment.PRODUCTION).weights.values()) else 0.0)
