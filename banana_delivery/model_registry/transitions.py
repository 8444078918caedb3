"""Which stages and aliases have to change so that a registry says how a delivery ended, decided without touching it.

What belongs elsewhere: tags, which are written whatever the registry said before, and how a registry is changed.

The tags by which a registry tells how the latest attempt to deliver a version ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from banana_delivery.errors import redacted
from banana_delivery.names import MARK_DIGEST_TAG, OUTCOME_TAG, REASON_TAG, RUN_TAG, WISH_TAG_PREFIX
from banana_delivery.policy.outcomes import RegistryMark
from banana_delivery.policy.staged_versions import Wish

STAGED_ALIAS = "staging"
SERVING_ALIAS = "production"
NO_STAGE, STAGED, SERVING, ARCHIVED = "None", "Staging", "Production", "Archived"


@dataclass(frozen=True)
class SetAlias:
    """Make an alias point at a version, wherever it pointed before."""

    alias: str
    version: str


@dataclass(frozen=True)
class DropAlias:
    """Remove an alias if it still points at the version."""

    alias: str
    version: str


@dataclass(frozen=True)
class SetStage:
    """Move a version to a stage."""

    version: str
    stage: str


Step = SetAlias | DropAlias | SetStage


def wishes(tags: Mapping[str, str]) -> dict[Wish, str]:
    """What people wrote beside a version that is to be answered, with their reasons.

    >>> wishes({"banana.approve": " The rare class has ten boxes. ", "banana.outcome": "parked"})
    {<Wish.APPROVE: 'approve'>: 'The rare class has ten boxes.'}
    """
    named = {wish: tags.get(f"{WISH_TAG_PREFIX}{wish}") for wish in Wish}
    return {wish: reason.strip() for wish, reason in named.items() if reason is not None}


def is_staged_alias(alias: str) -> bool:
    """Whether the alias asks for a delivery: people write ``staging`` and ``Staging``."""
    return alias.lower() == STAGED_ALIAS


def is_wanted(stage: str, aliases: Iterable[str]) -> bool:
    """Whether a version is staged, or what serves by the registry's word: either way somebody wants it there."""
    return stage in {STAGED, SERVING} or any(is_staged_alias(one) or one == SERVING_ALIAS for one in aliases)


def steps(stages: Mapping[str, str], aliases: Mapping[str, str], version: str, mark: RegistryMark) -> list[Step]:
    """The changes that are still missing, in an order that may be broken off anywhere and be asked for again.

    The serving version comes first and the version leaves the staged set last: a process that dies in between leaves
    a version that still looks staged, never one that nobody would look at again.

    A staging that somebody asked for is never swallowed: a serving version that is itself in stage "Staging" stays
    there unless this mark takes it out, and the alias alone says that it serves.

    Args:
        stages: stage of every version that exists.
        aliases: version of every alias.
        version: the version that the mark is about.
        mark: what the registry is to say.

    Returns:
        What to do; empty if the registry says it already. Nothing is asked of a version that does not exist; if it is
        the one that serves, no other one keeps saying that it does.
    """
    return [*_serve(stages, aliases, version, mark), *_unstage(stages, aliases, version, mark)]


def _serve(stages: Mapping[str, str], aliases: Mapping[str, str], version: str, mark: RegistryMark) -> list[Step]:
    serving = mark.serving
    if serving is None:
        return []
    archive = [SetStage(other, ARCHIVED) for other, stage in stages.items() if stage == SERVING and other != serving]
    if serving not in stages:
        # It was deleted. Nothing can point to it, and what pointed to the one before is not true any more.
        before = aliases.get(SERVING_ALIAS)
        return [*([DropAlias(SERVING_ALIAS, before)] if before is not None else []), *archive]
    result: list[Step] = []
    if aliases.get(SERVING_ALIAS) != serving:
        result.append(SetAlias(SERVING_ALIAS, serving))
    staging_is_dealt_with = mark.clear_staging and serving == version
    if stages[serving] != SERVING and (stages[serving] != STAGED or staging_is_dealt_with):
        result.append(SetStage(serving, SERVING))
    return [*result, *archive]


def _unstage(stages: Mapping[str, str], aliases: Mapping[str, str], version: str, mark: RegistryMark) -> list[Step]:
    if not mark.clear_staging:
        return []
    result: list[Step] = []
    if stages.get(version) == STAGED and mark.serving != version:
        result.append(SetStage(version, NO_STAGE))
    result += [
        DropAlias(alias, version) for alias, target in aliases.items() if is_staged_alias(alias) and target == version
    ]
    return result


MAX_REASON = 5000
"""Characters of the reason: what MLflow servers of every age take."""


def mark_tags(mark: RegistryMark) -> dict[str, str]:
    """The tags of a mark, all but its time; a tag of an earlier attempt never survives beside them."""
    return {
        OUTCOME_TAG: str(mark.outcome),
        REASON_TAG: shortened(redacted(mark.reason)),
        MARK_DIGEST_TAG: mark.digest,
        RUN_TAG: mark.run_id,
    }


def shortened(sentence: str) -> str:
    """A sentence as long as a tag takes it."""
    return sentence if len(sentence) <= MAX_REASON else sentence[: MAX_REASON - 1] + "…"
