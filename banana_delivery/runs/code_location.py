"""What of a Dagster instance is ours: assets, partitions, the pool and the runs. Nothing else decides that.

An instance may be shared with other code locations, whose assets, jobs and partitions may have the names of ours, and
with a second pipeline of this very product. So a run is found by what Dagster keeps of where it came from, or by the
tag of our jobs, and never by having a partition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Self

import dagster as dg

from banana_delivery.names import DOMAIN, PARTITION_TAG, PIPELINE_TAG, REPOSITORY_TAG
from banana_delivery.runs.evidence.keys import NAME, PAGES_NAME, EvidenceKeys
from banana_delivery.settings import Settings

REPOSITORY = "__repository__"
"""What Dagster calls the only repository of a code location that was made from ``Definitions``."""
PIPELINE = ("model_artifact", "image", "staging_release", "ab_report", "production_release")
ROLLOUT_LOG = "rollout_log"
FREEZES = "freezes"
PAUSES = "pauses"
ABORTS = "aborts"
REQUESTS = "requests"
"""Of people on the page of deliveries, signed with a key of that page."""
LOGS = (ROLLOUT_LOG, FREEZES, PAUSES, ABORTS, REQUESTS)
"""What no run of ours makes: who writes there says so without one."""
DELIVER, REDEPLOY, ROLLBACK, SCORE = "deliver", "redeploy", "rollback", "score"
SCORECARD = "scorecard"
_JOBS = frozenset({DELIVER, REDEPLOY, ROLLBACK, SCORE})
_PAGE = 100


@dataclass(frozen=True)
class CodeLocation:
    """Our part of a Dagster instance.

    Attributes:
        name: of the code location, as the workspace has it.
        prefix: of every asset key, and of the name of the partitions.
        pool: whose limit lets one delivery run at a time.
        model: registered model that is delivered; tells two pipelines apart that nothing else does.
        evidence: the keys with which our records are signed.
        asking: the keys with which the page of deliveries signs what people ask for there.
    """

    name: str = DOMAIN
    prefix: tuple[str, ...] = ()
    pool: str = "delivery"
    model: str = ""
    evidence: EvidenceKeys = field(default_factory=EvidenceKeys)
    asking: EvidenceKeys = field(default_factory=EvidenceKeys)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the settings say."""
        prefix = tuple(filter(None, settings.dagster_prefix.split("/")))
        named = settings.evidence_key_file
        evidence = EvidenceKeys(named or settings.home / NAME, named=named is not None)
        theirs = settings.pages_key_file
        variable = "BANANA_PAGES_KEY_FILE"
        asking = EvidenceKeys(theirs or settings.home / PAGES_NAME, theirs is not None, variable, apart_from=evidence)
        return cls(settings.dagster_location, prefix, settings.dagster_pool, settings.model_name, evidence, asking)

    def called(self, name: str | None) -> Self:
        """The same under the name by which Dagster calls it, where Dagster says so."""
        return replace(self, name=name) if name else self

    def to_show(self) -> Self:
        """The same for who only shows, and may have no keys of records, since strangers speak to him.

        Then he takes signatures as they stand; who decides by what he shows asks somebody who has the keys.
        """
        return replace(self, evidence=replace(self.evidence, shows=True))

    def key(self, asset: str) -> dg.AssetKey:
        """The key of one of our assets."""
        return dg.AssetKey([*self.prefix, asset])

    def asset(self, key: dg.AssetKey) -> str:
        """The asset that has a key, without the prefix."""
        return key.path[-1]

    def step(self, asset: str) -> str:
        """The step of a run that makes an asset."""
        return self.key(asset).to_python_identifier()

    @property
    def keys(self) -> list[dg.AssetKey]:
        """The keys of all assets that a delivery makes, in its order."""
        return [self.key(asset) for asset in PIPELINE]

    @property
    def partitions(self) -> dg.DynamicPartitionsDefinition:
        """The one partitioning: a partition is an MLflow model version."""
        return dg.DynamicPartitionsDefinition(name="/".join([*self.prefix, "model_version"]))

    @property
    def tags(self) -> dict[str, str]:
        """What every job of ours puts on its runs, and a run of our assets on itself as soon as it starts."""
        return {PIPELINE_TAG: "/".join(filter(None, [*self.prefix, self.model])) or DOMAIN}

    def owns(self, run: dg.DagsterRun) -> bool:
        """Whether a run is one of ours: it bears our tag, or came from this code location for our jobs or assets.

        The tag alone will do, since a code location may get another name, and a run that was not launched through a
        workspace came from nowhere that Dagster knows.
        """
        if self.tags.items() <= run.tags.items():
            return True
        ours = run.job_name in _JOBS or not set(self.keys).isdisjoint(run.asset_selection or ())
        return ours and location_of(run) == self.name

    def version_of(self, run: dg.DagsterRun) -> str:
        """The model version that a run of ours delivers; empty for any other run, and for one that delivers none."""
        delivers = run.job_name != ROLLBACK and self.owns(run)
        return run.tags.get(PARTITION_TAG, "") if delivers else ""

    def also_made_by(self, instance: dg.DagsterInstance) -> dict[str, str]:
        """The code locations that made assets of ours last, by the assets' keys: histories that would mix."""
        found: dict[str, str] = {}
        for asset in instance.get_asset_records(self.keys):
            last = asset.asset_entry.last_materialization_record
            run = instance.get_run_by_id(last.run_id) if last else None
            if run and location_of(run) and not self.owns(run):
                found[asset.asset_entry.asset_key.to_user_string()] = location_of(run)
        return found

    def runs(
        self, instance: dg.DagsterInstance, wanted: dg.RunsFilter, tags: Mapping[str, str] | None = None
    ) -> Iterator[dg.DagsterRun]:
        """Our runs, newest first of each kind of origin; how many others have does not matter.

        Args:
            instance: where to look.
            wanted: which of ours, but for their tags.
            tags: which they have to bear.
        """
        seen: set[str] = set()
        for ours in self.tags, {REPOSITORY_TAG: f"{REPOSITORY}@{self.name}"}:
            for run in _pages(instance, _with_tags(wanted, {**(tags or {}), **ours})):
                if run.run_id not in seen and self.owns(run):
                    seen.add(run.run_id)
                    yield run


def location_of(run: dg.DagsterRun) -> str:
    """The name of the code location that a run was launched from; empty if it was not launched through a workspace."""
    origin = run.remote_job_origin
    return origin.repository_origin.code_location_origin.location_name if origin else ""


def shared_key(asset: str, by: str) -> str:
    """The sentence about an asset that two make.

    Args:
        asset: its key.
        by: who makes it.
    """
    return (
        f"The asset {asset} is made by {by}, and two histories under one key cannot be told apart; set "
        "BANANA_DAGSTER_PREFIX for this pipeline, for example to bananas, and load its code location again."
    )


def _with_tags(wanted: dg.RunsFilter, tags: Mapping[str, str]) -> dg.RunsFilter:
    return dg.RunsFilter(
        job_name=wanted.job_name,
        statuses=wanted.statuses,
        tags=tags,
        updated_after=wanted.updated_after,
        updated_before=wanted.updated_before,
        created_after=wanted.created_after,
    )


def _pages(instance: dg.DagsterInstance, wanted: dg.RunsFilter) -> Iterator[dg.DagsterRun]:
    """All runs that pass a filter, a page at a time."""
    cursor: str | None = None
    while True:
        page: Sequence[dg.DagsterRun] = instance.get_runs(filters=wanted, cursor=cursor, limit=_PAGE)
        yield from page
        if len(page) < _PAGE:
            return
        cursor = page[-1].run_id


def code_version() -> str | None:
    """Which version of the product makes the assets; None where it runs without having been installed."""
    try:
        return version(DOMAIN)
    except PackageNotFoundError:
        return None
