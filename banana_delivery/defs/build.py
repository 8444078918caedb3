"""The one place where the parts meet, and the seam at which tests put in others."""

from __future__ import annotations

import os
from collections.abc import Mapping

import dagster as dg

from banana_delivery.defs.asset_checks import build_checks
from banana_delivery.defs.assets.ab_report import ab_report
from banana_delivery.defs.assets.image import image
from banana_delivery.defs.assets.model_artifact import model_artifact
from banana_delivery.defs.assets.production_release import production_release
from banana_delivery.defs.assets.rollout_log import rollout_log
from banana_delivery.defs.assets.staging_release import staging_release
from banana_delivery.defs.jobs import build_jobs
from banana_delivery.defs.resources import Services
from banana_delivery.defs.sensors import build_sensors
from banana_delivery.errors import BadSettingsError, ImageError
from banana_delivery.evaluation.http import HttpEvaluator
from banana_delivery.export.export import export_model
from banana_delivery.images.base import ImageStore
from banana_delivery.images.oci_layout.store import OciLayoutImages
from banana_delivery.model_registry.mlflow import MlflowRegistry
from banana_delivery.notifications.notifier import Notifier
from banana_delivery.settings import Settings
from banana_delivery.targets.base import ReleaseTarget


def build_services(settings: Settings) -> Services:
    """The real parts, as the settings choose them. Nothing is contacted before it is used."""
    images = _images(settings)
    return Services(
        settings=settings,
        registry=MlflowRegistry(settings.model_name, os.environ.get("MLFLOW_TRACKING_URI", settings.mlflow_url)),
        images=images,
        target=_target(settings, images),
        evaluator=HttpEvaluator(settings),
        notifier=Notifier(
            settings.home / "notifications.jsonl", [url.get_secret_value() for url in settings.notify_urls]
        ),
        convert=export_model,
    )


def build_defs(settings: Settings, resource_overrides: Mapping[str, object] | None = None) -> dg.Definitions:
    """All definitions of the code location.

    Args:
        settings: what to build them from.
        resource_overrides: resources to use instead, by name; there is one, ``services``.
    """
    overrides = dict(resource_overrides or {})
    services = overrides.pop("services", None) or build_services(settings)
    return dg.Definitions(
        assets=[model_artifact, image, staging_release, ab_report, production_release, rollout_log],
        asset_checks=build_checks(),
        jobs=build_jobs(),
        sensors=build_sensors(),
        resources={"services": services, **overrides},
        # The assets follow each other; one process for a run saves the seconds of starting five.
        executor=dg.in_process_executor,
    )


def _images(settings: Settings) -> ImageStore:
    """The chosen store.

    Raises:
        BadSettingsError: if the registry that Kubernetes pulls from is not named.
    """
    if settings.target == "local":
        return OciLayoutImages(settings.home / "images")
    from banana_delivery.images.choose import docker_images

    try:
        return docker_images(settings)
    except ImageError as error:
        raise BadSettingsError(str(error)) from error


def _target(settings: Settings, images: ImageStore) -> ReleaseTarget:
    """Only the chosen place is imported: the other one's client library costs a second."""
    if isinstance(images, OciLayoutImages):
        from banana_delivery.embedded.target import LocalTarget

        return LocalTarget(settings, images.unpack)
    from banana_delivery.targets.kubernetes.target import kubernetes_target

    return kubernetes_target(settings)
