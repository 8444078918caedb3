"""The one place where the parts meet, and the seam at which tests put in others."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import dagster as dg

from banana_delivery.defs.asset_checks import build_checks
from banana_delivery.defs.assets.ab_report import ab_report
from banana_delivery.defs.assets.image import image
from banana_delivery.defs.assets.model_artifact import model_artifact
from banana_delivery.defs.assets.production_release import production_release
from banana_delivery.defs.assets.rollout_log import rollout_log
from banana_delivery.defs.assets.scorecard import scorecard
from banana_delivery.defs.assets.staging_release import staging_release
from banana_delivery.defs.jobs import build_jobs
from banana_delivery.defs.records_io import RecordsIOManager
from banana_delivery.defs.resources import Resources
from banana_delivery.defs.schedules import build_schedules
from banana_delivery.defs.sensors import build_sensors
from banana_delivery.errors import BadSettingsError, ImageError
from banana_delivery.evaluation.http import HttpEvaluator
from banana_delivery.evaluation.own_metrics.asking import HttpMetrics
from banana_delivery.export.apart.job import exporter_for
from banana_delivery.model_registry.mlflow import MlflowRegistry
from banana_delivery.model_registry.webhooks.bell import bell_for
from banana_delivery.notifications.notifier import notifier_for
from banana_delivery.platforms import platform
from banana_delivery.reports.plots import Plots
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.settings import Settings
from banana_delivery.waiting import SystemClock

LOG = logging.getLogger(__name__)


def build_resources(settings: Settings) -> Resources:
    """The real parts, as the settings choose them. Nothing is contacted before it is used.

    Raises:
        BadSettingsError: if what the chosen target needs is not set.
    """
    try:
        image_store, release_target = platform(settings).parts(settings)
    except ImageError as error:
        raise BadSettingsError(str(error)) from error
    tracking = os.environ.get("MLFLOW_TRACKING_URI", settings.mlflow_url)
    return Resources(
        settings=settings,
        model_registry=MlflowRegistry(settings.model_name, tracking, artifact_roots=settings.artifact_roots),
        exporter=exporter_for(settings),
        image_store=image_store,
        release_target=release_target,
        evaluator=HttpEvaluator(settings),
        notifier=notifier_for(settings),
        plots=Plots(),
        clock=SystemClock(),
        metric_source=HttpMetrics(settings.metric_tokens),
        bell=bell_for(settings),
    )


def build_defs(settings: Settings, resource_overrides: Mapping[str, object] | None = None) -> dg.Definitions:
    """All definitions of the code location.

    Args:
        settings: what to build them from.
        resource_overrides: parts to use instead, by their names in ``Resources``.

    Raises:
        BadSettingsError: if what the target needs is not set.
    """
    resources = replace(build_resources(settings), **cast(dict[str, Any], dict(resource_overrides or {})))
    try:
        _ = resources.policy_file.policy
    except BadSettingsError as error:
        # Told before anything is under way, and no more than that: the ways back are among the definitions.
        LOG.error("Nothing is delivered until this is mended: %s", error)  # noqa: TRY400 - a sentence, not a trace
    location = CodeLocation.of(resources.settings)
    assets = [model_artifact, image, staging_release, ab_report, production_release]
    return dg.Definitions(
        assets=[*(declared(location) for declared in assets), rollout_log(location), scorecard(location)],
        asset_checks=build_checks(location),
        jobs=build_jobs(location),
        sensors=build_sensors(
            starting=resources.settings.dagster_sensors_start, deciding=bool(resources.settings.pages_deciders)
        ),
        schedules=build_schedules(starting=resources.settings.dagster_sensors_start),
        resources={**resources.by_key(), "records": RecordsIOManager(resources.plots, resources.settings)},
        # The assets follow each other; one process for a run saves the seconds of starting five.
        executor=dg.in_process_executor,
    )
