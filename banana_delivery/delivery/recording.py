"""Writing an attempt down, with its report and pictures, and everything that follows from it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TypeVar

import dagster as dg

from banana_delivery.delivery.history import History
from banana_delivery.policy.records import Environment
from banana_delivery.policy.releases import AbRecord, AttemptRecord, ImageRecord, StagingRecord
from banana_delivery.policy.rollout import PLANS
from banana_delivery.services import Services
from banana_delivery.targets.base import TargetError

LOG = logging.getLogger(__name__)
UNKNOWN = "unknown"
"""What production serves while it cannot be asked."""
Found = TypeVar("Found", StagingRecord, AbRecord)


def record(instance: dg.DagsterInstance, services: Services, attempt: AttemptRecord) -> None:
    """Log an attempt unless it is known, then let the registry and the people know."""
    history = History(instance)
    if history.knows(attempt):
        return
    attempt = _completed(services, history, attempt)
    history.log(attempt, **_pictures(services, history, attempt))
    services.aftermath.settle(attempt)


def _completed(services: Services, history: History, attempt: AttemptRecord) -> AttemptRecord:
    """With the image and what serves, where whoever made the attempt did not know them."""
    image = None if attempt.digest else history.latest(ImageRecord, "image", attempt.version)
    return attempt.but(
        digest=image.ref.digest if image else attempt.digest,
        serving_version=attempt.serving_version or _serving(services),
    )


def _serving(services: Services) -> str:
    try:
        live = services.target.record(Environment.PRODUCTION).live
    except TargetError:
        return UNKNOWN
    return live.version if live else ""


def _pictures(services: Services, history: History, attempt: AttemptRecord) -> dict[str, dg.MetadataValue]:
    """The report as a file, and the rollout as a picture; failing to draw never loses the attempt."""
    try:
        shown: dict[str, dg.MetadataValue] = {
            "report": dg.MetadataValue.path(_write_report(services, history, attempt))
        }
        if attempt.steps:
            shown["rollout"] = dg.MetadataValue.md(rollout_picture(services, attempt))
    except Exception:
        LOG.exception("The report about version %s could not be drawn.", attempt.version)
        return {}
    return shown


def rollout_picture(services: Services, attempt: AttemptRecord) -> str:
    """What moved when, as markdown that carries its own picture."""
    from banana_delivery.reports.rollout_plot import rollout_plot
    from banana_delivery.reports.style import embedded

    if attempt.colour is None:
        return ""
    title = f"Version {attempt.version}"
    drawn = rollout_plot(attempt.steps, attempt.colour, budget_seconds=_budget(services), title=title)
    return embedded(drawn, title)


def _write_report(services: Services, history: History, attempt: AttemptRecord) -> Path:
    from banana_delivery.reports.page import html_report

    page = html_report(
        attempt,
        budget_seconds=_budget(services),
        staging=_of_this_image(history.latest(StagingRecord, "staging_release", attempt.version), attempt),
        ab=_of_this_image(history.latest(AbRecord, "ab_report", attempt.version), attempt),
        links={"run": f"{services.settings.pages_url}/runs/{attempt.run_id}"} if attempt.run_id else {},
    )
    file = services.settings.home / "reports" / f"version-{attempt.version}-{attempt.at:.0f}-{attempt.outcome}.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, encoding="utf-8")
    return file


def _of_this_image(found: Found | None, attempt: AttemptRecord) -> Found | None:
    """What was recorded about another image of the version is no evidence here."""
    return found if found and found.ref.digest == attempt.digest else None


def _budget(services: Services) -> float:
    return PLANS[services.settings.plan].latency_budget_seconds
