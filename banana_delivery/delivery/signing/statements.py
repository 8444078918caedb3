"""What is said of an image under our signature: how it was built (SLSA's provenance), and how it was judged."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from banana_delivery.errors import redacted
from banana_delivery.images.supply_chain.sbom import PRODUCT, product_version
from banana_delivery.names import (
    BASE_LABEL,
    CODE_SHA256_LABEL,
    KEY_LABEL,
    LOCK_SHA256_LABEL,
    MODEL_SHA256_LABEL,
    RUNTIME_LABEL,
    VERSION_FILE_SHA256_LABEL,
)
from banana_delivery.policies.document import ReleasePolicy
from banana_delivery.policy.asset_records import AbRecord, ArtifactRecord, StagingRecord

SBOM = "https://cyclonedx.org/bom"
PROVENANCE = "https://slsa.dev/provenance/v1"
VERDICT = "urn:banana-delivery:verdict:v1"
BUILD = "urn:banana-delivery:image-build:v1"
BUILDER = "urn:banana-delivery:builder:v1"
Predicate = dict[str, Any]


def provenance(
    artifact: ArtifactRecord,
    labels: Mapping[str, str],
    *,
    lock: str,
    model: str,
    run_id: str,
    commit: str,
    start: float,
    end: float,
) -> Predicate:
    """How an image was built.

    Args:
        artifact: the model in it.
        labels: the image's own, which say what it was made of.
        lock: name of the file of its packages; there is one for each kind of device.
        model: name of the registered model.
        run_id: the Dagster run that built it.
        commit: git commit of the code; empty where it did not come by git.
        start: when that began, seconds since the epoch.
        end: when it ended.
    """
    return {
        "buildDefinition": {
            "buildType": BUILD,
            "externalParameters": {"model": model, "version": artifact.version},
            "internalParameters": {"key": labels.get(KEY_LABEL, ""), "base": labels.get(BASE_LABEL, "")},
            "resolvedDependencies": [
                _file("best.pt", artifact.checkpoint_sha256, uri=redacted(artifact.source)),
                _file("model.onnx", labels.get(MODEL_SHA256_LABEL, "")),
                _file("version.json", labels.get(VERSION_FILE_SHA256_LABEL, "")),
                _file("serving", labels.get(CODE_SHA256_LABEL, "")),
                _file(f"requirements/{lock}", labels.get(LOCK_SHA256_LABEL, "")),
                *([{"name": PRODUCT, "digest": {"gitCommit": commit}}] if commit else []),
                *_base(labels),
            ],
        },
        "runDetails": {
            "builder": {"id": BUILDER, "version": {PRODUCT: product_version()}},
            "metadata": {"invocationId": run_id, "startedOn": _when(start), "finishedOn": _when(end)},
        },
    }


def verdict(report: AbRecord, staging: StagingRecord | None, policy: ReleasePolicy, run_id: str) -> Predicate:
    """How an image was judged, and by what.

    Args:
        report: the A/B report about it.
        staging: what was seen of it in staging; None if that is not on record.
        policy: the rules that it was judged by.
        run_id: the Dagster run that judged it.
    """
    judged = report.verdict
    tested = staging if staging and staging.ref.digest == report.ref.digest else None
    return {
        "version": report.ref.version,
        "verdict": judged.verdict.value,
        "reason": redacted(judged.reason),
        "decidedOn": _when(judged.at),
        "invocationId": run_id,
        "against": {"sha256": _hex(report.against.digest)} if report.against else None,
        "policy": {"name": policy.name, "digest": {"sha256": _hex(policy.digest)}},
        "evidence": {
            "tests": [{"name": row.name, "passed": row.passed} for row in tested.tests] if tested else [],
            "quality": {"verdict": report.quality.verdict.value, "reason": redacted(report.quality.reason)},
            "traffic": report.traffic.model_dump(mode="json") if report.traffic else None,
        },
    }


def _file(name: str, sha256: str, *, uri: str = "") -> Predicate:
    return {"name": name, **({"uri": uri} if uri else {}), "digest": {"sha256": sha256}}


def _base(labels: Mapping[str, str]) -> list[Predicate]:
    """The image that it stands on, if it stands on one."""
    name, at, digest = labels.get(RUNTIME_LABEL, "").partition("@")
    return [{"name": "runtime", "uri": f"oci://{name}", "digest": {"sha256": _hex(digest)}}] if at else []


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
