"""Asks the registry whether anybody wants a version any more before what was approved of it goes on by itself."""

from __future__ import annotations

import logging

from banana_delivery.errors import RegistryError, UnknownVersionError, redacted
from banana_delivery.model_registry.base import ModelRegistry
from banana_delivery.model_registry.transitions import is_wanted
from banana_delivery.policy.approvals.wanted import unwanted
from banana_delivery.policy.asset_records import AbRecord, ManualDecision
from banana_delivery.runs.audit_log import AB_REPORT, AuditLog
from banana_delivery.runs.code_location import FREEZES
from banana_delivery.runs.evidence.reading import RecordReader
from banana_delivery.runs.lifecycle import Runs

LOG = logging.getLogger(__name__)


def why_unwanted(registry: ModelRegistry, log: AuditLog, version: str, *, waited: bool) -> str:
    """Why nothing goes on of a version, as sentences; empty if it does, also where the registry does not answer.

    A person's word is on record then, and nothing against it.

    Args:
        registry: is asked for the version.
        log: knows who began the delivery that made its report.
        version: MLflow model version.
        waited: whether the approval waited for the end of a freeze, so that whoever gave it may not know what is now.
    """
    lines = RecordReader(log.instance, log.location).lines(AbRecord, AB_REPORT, version)
    reported_by = next((line.run_id for line in lines if line.record and not line.doubt), "")
    for_its_staging = waited and bool(Runs(log.instance, log.location).staging_of(reported_by))
    try:
        known = registry.describe(version)
    except UnknownVersionError:
        return unwanted(version, for_its_staging=for_its_staging, stands=None, wanted=False)
    except RegistryError as error:
        LOG.warning("Whether version %s is still staged is not known: %s", version, redacted(str(error)))
        return ""
    wanted = is_wanted(known.stage, known.aliases)
    return unwanted(version, for_its_staging=for_its_staging, stands=known.stage, wanted=wanted)


def froze_since(log: AuditLog, said: ManualDecision) -> bool:
    """Whether anybody froze deliveries, or let them in again, after a decision, as before its run was asked for."""
    return RecordReader(log.instance, log.location).newest(FREEZES, "", observed=True) > said.order
