"""Records as asset values: stored as the metadata of a materialization, read back by asset key and partition."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg
from typing_extensions import override

from banana_delivery.delivery.record_attempt import report_file
from banana_delivery.policy import commands
from banana_delivery.policy.asset_records import AbRecord, AttemptRecord, StagingRecord
from banana_delivery.policy.model import StoredRecord
from banana_delivery.reports.plots import Plots, quality_picture
from banana_delivery.reports.style.numbers import Numbers, quality_numbers, traffic_numbers
from banana_delivery.reports.tables import quality_table, step_table, test_table
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import ROLLOUT_LOG, CodeLocation
from banana_delivery.runs.records import Metadata, as_metadata
from banana_delivery.settings import Settings


class RecordsIOManager(dg.IOManager):
    """Writes a record with its tables and pictures, and finds it again.

    Args:
        plots: draws the pictures.
        settings: where reports are.
    """

    def __init__(self, plots: Plots, settings: Settings) -> None:
        self._plots = plots
        self._settings = settings

    @override
    def handle_output(self, context: dg.OutputContext, obj: StoredRecord) -> None:
        """The record's fields, its JSON, its signature, and what people look at instead.

        Raises:
            EvidenceError: if there is no key to sign it with.
        """
        shown: Metadata = {name: dg.MetadataValue.md(text) for name, text in self.shown(obj).items() if text}
        shown |= as_metadata(numbers_of(obj))
        asset, version = context.asset_key.path[-1], context.partition_key
        log = AuditLog(context.step_context.instance, CodeLocation.of(self._settings))
        context.add_output_metadata(log.sign(obj, asset, version, context.run_id, **shown))

    @override
    def load_input(self, context: dg.InputContext) -> StoredRecord:
        """What the asset recorded of the partition the last time.

        Raises:
            dagster.Failure: if it recorded nothing.
        """
        version, asset = context.partition_key, context.asset_key
        kind: type[StoredRecord] = context.dagster_type.typing_type
        location = CodeLocation.of(self._settings)
        record = AuditLog(context.step_context.instance, location).latest(kind, location.asset(asset), version)
        if record is None:
            raise dg.Failure(
                f"Version {version} has no {location.asset(asset).replace('_', ' ')} yet; deliver it as a whole: "
                f"{commands.deliver(version)}",
                allow_retries=False,
            )
        return record

    def shown(self, record: StoredRecord) -> Mapping[str, str]:
        """Tables and pictures by name, as markdown; empty ones are left out."""
        match record:
            case StagingRecord():
                return {
                    "test_table": test_table(record.tests),
                    "quality_table": quality_table(record.quality),
                    "quality": quality_picture(record.quality, self._plots),
                }
            case AbRecord():
                return {
                    "traffic_table": step_table(record.whole_traffic),
                    "quality_table": quality_table(record.quality),
                    "quality": quality_picture(record.quality, self._plots),
                }
            case AttemptRecord():
                return {
                    "step_table": step_table([step.metrics for step in record.steps]),
                    # The picture is an event of the audit trail, and whole in the report: not here once more.
                    "rollout": f"See the asset {ROLLOUT_LOG}, or the report: `{report_file(self._settings, record)}`",
                }
            case _:
                return {}


def numbers_of(record: StoredRecord) -> Numbers:
    """What of a record can be drawn over the versions, beside its own fields."""
    match record:
        case StagingRecord():
            return {**quality_numbers(record.quality), "failed tests": len(record.failed_tests)}
        case AbRecord():
            return {**quality_numbers(record.quality), **traffic_numbers(record.traffic)}
        case _:
            return {}
