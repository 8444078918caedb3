"""The one place where the parts meet, and the seam at which tests put in others."""

from __future__ import annotations

import os
from collections.abc import Mapping

import dagster as dg

from banana_delivery.assets.ab_report import ab_report
from banana_delivery.assets.image import image
from banana_delivery.assets.model_artifact import model_artifact
from banana_delivery.assets.production_release import production_release
from banana_delivery.assets.rollout_log import rollout_log
from banana_delivery.assets.staging_release import staging_release
from banana_delivery.checks import build_checks
from banana_delivery.conversion.artifact import convert
from banana_delivery.images.base import ImageError, ImageStore
from banana_delivery.images.oci_layout import OciLayoutImages
from banana_delivery.jobs import build_jobs
from banana_delivery.notifications import Notifier
from banana_delivery.registry.mlflow import MlflowRegistry
from banana_delivery.sensors import build_sensors
from banana_delivery.services import Services
from banana_delivery.settings import BadSettingsError, Settings
from banana_delivery.targets.base import ReleaseTarget
from banana_delivery.traffic.http_evidence import HttpEvidence


def build_services(settings: Settings) -> Services:
    """The real parts, as the settings choose them. Nothing is contacted before it is used."""
    images = _images(settings)
    return Services(
        settings=settings,
        registry=MlflowRegistry(settings.model_name, os.environ.get("MLFLOW_TRACKING_URI", settings.mlflow_url)),
        images=images,
        target=_target(settings, images),
        evidence=HttpEvidence(settings),
        notifier=Notifier(
            settings.home / "notifications.jsonl", [url.get_secret_value() for url in settings.notify_urls]
        ),
        convert=convert,
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
        from banana_delivery.targets.local import LocalTarget

        return LocalTarget(settings, images.unpack)
    from banana_delivery.targets.kubernetes_connect import kubernetes_target

    return kubernetes_target(settings)
