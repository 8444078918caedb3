"""What a GraphQL document would do, before anybody executes it.

Mutations are allowed by name. One that a later Dagster brings is refused until it stands here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    Node,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    parse,
)

MOST_TOKENS = 20_000
"""The longest document of Dagster's own pages has about 3,000."""
SEEN = frozenset({"logTelemetry", "setNuxSeen"})
"""What the pages send while somebody only looks; neither changes anything of a delivery."""
WORK = SEEN | {
    "addDynamicPartition",
    "cancelPartitionBackfill",
    "freeConcurrencySlots",
    "freeConcurrencySlotsForRun",
    "launchMultipleRuns",
    "launchPartitionBackfill",
    "launchPipelineExecution",
    "launchPipelineReexecution",
    "launchRun",
    "launchRunReexecution",
    "reexecutePartitionBackfill",
    "reloadRepositoryLocation",
    "reloadWorkspace",
    "resetSchedule",
    "resetSensor",
    "resumePartitionBackfill",
    "scheduleDryRun",
    "sensorDryRun",
    "setAutoMaterializePaused",
    "setConcurrencyLimit",
    "startSchedule",
    "startSensor",
    "stopRunningSchedule",
    "stopSensor",
    "terminatePipelineExecution",
    "terminateRun",
    "terminateRuns",
}
"""What people use the pages for: materialize, backfill, end runs, start and stop sensors."""
HISTORY = frozenset(
    {
        "deleteAppManagedComponent",
        "deleteConcurrencyLimit",
        "deleteDynamicPartitions",
        "deletePipelineRun",
        "deleteRun",
        "refreshComponentState",
        "reportAssetCheckEvaluations",
        "reportRunlessAssetEvents",
        "setAppManagedComponent",
        "setSensorCursor",
        "shutdownRepositoryLocation",
        "wipeAssets",
    }
)
"""What makes evidence up or takes it away, and what nobody needs to deliver: the gates read what Dagster holds."""


@dataclass(frozen=True)
class Asked:
    """What a document asks for.

    Attributes:
        operations: their kinds.
        changes: every field that a mutation may execute, at whatever depth it stands.
    """

    operations: frozenset[OperationType]
    changes: frozenset[str]

    @property
    def only_reads(self) -> bool:
        """Whether nothing in it can change anything, or goes on for ever."""
        return self.operations <= {OperationType.QUERY}


def asked_by(document: str) -> Asked:
    """Read a document.

    Raises:
        ValueError: if it is none, or larger than any that the pages send.
    """
    try:
        parsed = parse(document, no_location=True, max_tokens=MOST_TOKENS)
    except (GraphQLError, RecursionError) as error:
        raise ValueError("it is no GraphQL document that the pages would send") from error
    operations = frozenset(one.operation for one in parsed.definitions if isinstance(one, OperationDefinitionNode))
    if OperationType.MUTATION not in operations:
        return Asked(operations, frozenset())
    return Asked(operations, frozenset(_changes(parsed)))


def _changes(document: DocumentNode) -> Iterator[str]:
    """The fields of mutations, and of every fragment that one could spread, whether it does or not."""
    for one in document.definitions:
        if (isinstance(one, OperationDefinitionNode) and one.operation is OperationType.MUTATION) or (
            isinstance(one, FragmentDefinitionNode) and one.type_condition.name.value == ROOT
        ):
            yield from _top_fields(one.selection_set)


ROOT = "Mutation"
"""Dagster's name of the type of all mutations; a fragment on another type cannot be spread among them."""


def _top_fields(selected: SelectionSetNode) -> Iterator[str]:
    """Fields by their own names, whatever they are called in the answer, in inline fragments too."""
    for one in selected.selections:
        if isinstance(one, FieldNode):
            yield one.name.value
        elif isinstance(inner := getattr(one, "selection_set", None), Node):
            assert isinstance(inner, SelectionSetNode)
            yield from _top_fields(inner)
