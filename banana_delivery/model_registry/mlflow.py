"""The MLflow model registry.

What MLflow 3.17 records about time, read in its SQL store and seen in ``tests/contract/test_model_registry.py``:

- A version's ``last_updated_timestamp`` moves when its stage is set (also to the stage it already has), when its
  description is edited and when the model is renamed. Writing or removing a tag or an alias does not move it, so
  marking an outcome never looks like a staging.
- Editing the description of a version in stage "Staging" cannot be told from staging it again: MLflow keeps no other
  time. It triggers a second delivery.
- An alias has no time at all. A version that is staged by alias alone is reported with the time of its creation, which
  no later change moves; that it was staged shows only in its being new in the staged set. An alias that is taken away
  and put back between two looks is one staging.

Nothing here imports MLflow before it is needed: that takes seconds, and loading the code location must not.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from typing_extensions import override

from banana_delivery.errors import RegistryError, RegistryRefusedError, UnknownVersionError, redacted
from banana_delivery.model_registry import artifacts
from banana_delivery.model_registry.base import ModelRegistry, ModelVersion, StagedVersion
from banana_delivery.model_registry.client import (
    PLAIN_NAME,
    failures,
    is_missing,
    is_refused,
    name_filter,
    open_client,
    plain_reason,
    registry_of,
    without_credentials,
)
from banana_delivery.model_registry.stages import PART, Stages
from banana_delivery.model_registry.transitions import (
    ARCHIVED,
    SERVING,
    STAGED,
    DropAlias,
    SetAlias,
    SetStage,
    Step,
    is_staged_alias,
    mark_tags,
    shortened,
    steps,
    wishes,
)
from banana_delivery.names import ANSWER_TAG, TIME_TAG, WISH_TAG_PREFIX
from banana_delivery.policy.outcomes import RegistryMark
from banana_delivery.policy.staged_versions import Wish

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion
    from mlflow.entities.model_registry import RegisteredModel

FEW = 25
"""Versions asked for in one call where most often the first one says that there is nothing more to know; else as many
as ``stages`` reads at once."""
BY_NUMBER, BY_CHANGE = "version_number DESC", "last_updated_timestamp DESC"
NEWEST = 10  # Versions that a message names.
MOST_LOOKS = 3
"""Looks at what exists while somebody deletes it."""


class MlflowRegistry(ModelRegistry):
    """One registered model of an MLflow server.

    ``staged`` costs one call where no version is in stage "Staging"; else one more for the few that were changed since
    the last look, and one for each that is staged. All are read, in parts, where that does not tell.

    Args:
        model_name: the registered model.
        tracking_uri: the server. Its registry is used too, unless ``MLFLOW_REGISTRY_URI`` names another one.
        clock: seconds since the epoch, for the tag ``banana.at``.
        artifact_roots: addresses below which sources may lie beside MLflow's own artifacts.
    """

    def __init__(
        self,
        model_name: str,
        tracking_uri: str,
        clock: Callable[[], float] = time.time,
        artifact_roots: Collection[str] = (),
    ) -> None:
        self.model_name = model_name
        self.tracking_uri = tracking_uri
        self._place = without_credentials(tracking_uri)
        self._clock = clock
        self._artifact_roots = tuple(artifact_roots)
        self._stages = Stages(
            between=self._between,
            last_changed=lambda: self._found(FEW, BY_CHANGE),
            one=self._if_there,
            highest=lambda: max((int(one.version) for one in islice(self._found(1), 1)), default=0),
            server=registry_of(tracking_uri),
        )

    @cached_property
    def _client(self) -> MlflowClient:
        return open_client(self.tracking_uri)

    @override
    def staged(self) -> list[StagedVersion]:
        """A model that nobody has registered yet has no staged versions."""
        try:
            with self._speaking():
                model = self._model()
                by_alias = {version for alias, version in _aliases(model).items() if is_staged_alias(alias)}
                by_stage = self._stages.staged(model)
                others = [self._if_there(number) for number in by_alias - by_stage.keys()]
        except UnknownVersionError:
            return []
        versions = [*by_stage.values(), *filter(None, others)]
        staged = [_staged(version, by_alias=str(version.version) in by_alias) for version in versions]
        return sorted(staged, key=lambda one: (one.staged_at, int(one.version)))

    @property
    @override
    def memory(self) -> str:
        return self._stages.memory.model_dump_json() if self._stages.memory else ""

    @override
    def recall(self, memory: str) -> None:
        self._stages.recall(memory)

    @override
    def describe(self, version: str) -> ModelVersion:
        with self._speaking(version):
            found = self._latest() if version == "latest" else self._version(version)
            return ModelVersion(
                name=found.name,
                version=str(found.version),
                run_id=found.run_id or "",
                source=redacted(found.source or ""),
                stage=found.current_stage or "None",
                aliases=tuple(sorted(found.aliases)),
                tags=dict(found.tags),
                metrics=self._metrics(found.run_id),
                created_at=found.creation_timestamp / 1000,
            )

    @override
    def download(self, version: str, to: Path) -> Path:
        with self._speaking(version):
            return artifacts.download(*self._source(version), to, self._artifact_roots)

    @override
    def signature(self, version: str, to: Path) -> Path | None:
        with self._speaking(version):
            return artifacts.signature(*self._source(version), to, self._artifact_roots)

    def _source(self, version: str) -> tuple[MlflowClient, artifacts.Place]:
        found = self._latest() if version == "latest" else self._version(version)
        where = f"version {found.version} of model '{self.model_name}' ({self._place})"
        uri = self._client.get_model_version_download_uri(self.model_name, str(found.version))
        return self._client, artifacts.Place(uri, str(found.run_id or ""), where)

    @override
    def mark(self, version: str, mark: RegistryMark) -> None:
        """Tags come first, then what serves, then the version leaves the staged set.

        Tags come first, then what serves, then the version leaves the staged set: broken off anywhere and repeated it
        ends the same. What somebody deleted meanwhile is left out, and all else is written.

        Raises:
            UnknownVersionError: if the version or the serving one does not exist; all else was written.
        """
        with self._speaking(version):
            known = self._mark_what_exists(version, mark)
            for one in (version, mark.serving):
                if one is not None and one not in known:
                    raise self._unknown(one)

    def _mark_what_exists(self, version: str, mark: RegistryMark) -> set[str]:
        """Write a mark, and say which versions of the two there are.

        Of each stage MLflow tells one version, so that after one that kept saying that it serves the next one shows.
        """
        looks = MOST_LOOKS
        while True:
            model = self._model()
            asked = {one: self._if_there(one) for one in {version, mark.serving} if one and one.isdecimal()}
            found = {number: one for number, one in asked.items() if one}
            told = {str(one.version): one for one in model.latest_versions or () if str(one.version) not in asked}
            stages = {number: str(one.current_stage) for number, one in {**told, **found}.items()}
            todo = steps(stages, _aliases(model), version, mark)
            try:
                if version in found:
                    self._write_tags(found[version], mark)
                for step in todo:
                    self._apply(step)
                if not any(isinstance(step, SetStage) and step.stage == ARCHIVED for step in todo):
                    self._archive_hidden(mark.serving)
                    return set(found)
            except failures() as error:
                looks -= 1
                if not looks or not is_missing(error):
                    raise

    def _archive_hidden(self, serving: str | None) -> None:
        """Archive those in stage "Production" that the serving one hides, since its number is higher.

        There can be one only if anything of the model was changed after the serving version was.
        """
        if serving is None or not serving.isdecimal() or (one := self._if_there(serving)) is None:
            return
        if one.current_stage == SERVING and one.last_updated_timestamp != self._model().last_updated_timestamp:
            self._apply(SetStage(serving, SERVING))

    @override
    def answer(self, version: str, wish: Wish, sentence: str) -> None:
        """The answer first: broken off in between, the wish is met once more and answered the same."""
        tag = f"{WISH_TAG_PREFIX}{wish}"
        with self._speaking(version):
            found = self._version(version)
            self._client.set_model_version_tag(self.model_name, version, ANSWER_TAG, shortened(sentence))
            if tag in found.tags:
                self._client.delete_model_version_tag(self.model_name, version, tag)

    @override
    def url(self, version: str) -> str:
        """Empty if MLflow is used without a server."""
        if not self._place.startswith(("http://", "https://")):
            return ""
        return f"{self._place.rstrip('/')}/#/models/{quote(self.model_name, safe='')}/versions/{version}"

    def _version(self, version: str) -> MlflowVersion:
        if not version.isdecimal():
            raise self._unknown(version)
        return self._client.get_model_version(self.model_name, version)

    def _model(self) -> RegisteredModel:
        """The model with its aliases, and of each stage the version with the highest number.

        Searched for, since a server that is asked for one model reads all of its versions to tell that.
        """
        if PLAIN_NAME.fullmatch(self.model_name):
            for one in self._client.search_registered_models(name_filter(self.model_name), max_results=1):
                if one.name == self.model_name:
                    return one
        return self._client.get_registered_model(self.model_name)

    def _if_there(self, number: str) -> MlflowVersion | None:
        """A version that was there a moment ago, unless somebody deleted it."""
        try:
            return self._client.get_model_version(self.model_name, number)
        except failures() as error:
            if is_missing(error):
                return None
            raise

    def _latest(self) -> MlflowVersion:
        newest = next(self._found(1), None)
        if newest is None:
            raise self._unknown("latest")
        # Searching does not tell aliases; asking for the one version does.
        return self._client.get_model_version(self.model_name, str(newest.version))

    def _between(self, above: int, upto: int) -> Iterator[MlflowVersion]:
        """The versions with the numbers of one part: where others come and go, it stays the same."""
        return self._found(PART, where=f" and version_number > {above} and version_number <= {upto}")

    def _found(self, size: int, order: str = BY_NUMBER, where: str = "") -> Iterator[MlflowVersion]:
        """The model's versions, asked for ``size`` at first.

        By number, pages stay the same while a version is changed between two calls; by change, it comes twice or not.
        """
        exact = PLAIN_NAME.fullmatch(self.model_name) is not None
        token = None
        while True:
            page = self._client.search_model_versions(
                name_filter(self.model_name) + where,
                max_results=size if exact and token is None else PART,
                order_by=[order],
                page_token=token,
            )
            yield from (one for one in page if one.name == self.model_name)
            token = page.token
            if not token:
                return

    def _metrics(self, run_id: str | None) -> dict[str, float]:
        if not run_id:
            return {}
        try:
            return dict(self._client.get_run(run_id).data.metrics)
        except failures() as error:
            if is_missing(error):
                return {}
            raise

    def _write_tags(self, version: MlflowVersion, mark: RegistryMark) -> None:
        tags = mark_tags(mark)
        if all(version.tags.get(name) == value for name, value in tags.items()):
            return
        now = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds")
        for name, value in {TIME_TAG: now, **tags}.items():
            self._client.set_model_version_tag(self.model_name, str(version.version), name, value)

    def _apply(self, step: Step) -> None:
        match step:
            case SetAlias(alias, version):
                self._client.set_registered_model_alias(self.model_name, alias, version)
            case DropAlias(alias, version):
                # Somebody may have moved it to the next version meanwhile. MLflow cannot remove an alias on
                # condition, so the moment between these two calls remains.
                if _aliases(self._model()).get(alias) == version:
                    self._client.delete_registered_model_alias(self.model_name, alias)
            case SetStage(version, stage):
                with warnings.catch_warnings():
                    # People stage in MLflow's pages; as long as MLflow has stages, they must say the truth.
                    warnings.filterwarnings(
                        "ignore", r".*transition_model_version_stage`` is deprecated", FutureWarning
                    )
                    self._client.transition_model_version_stage(
                        self.model_name, version, stage, archive_existing_versions=stage == SERVING
                    )

    @contextmanager
    def _speaking(self, version: str = "") -> Iterator[None]:
        """Turn whatever MLflow's client raises into one sentence; what is not there is the version."""
        try:
            yield
        except failures() as error:
            if is_missing(error):
                raise self._unknown(version) from error
            if is_refused(error):
                raise RegistryRefusedError(
                    f"MLflow at {self._place} refuses this account ({plain_reason(error)}): give it permission to edit "
                    f"the model '{self.model_name}', or set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to "
                    "one that has it."
                ) from error
            raise RegistryError(
                f"MLflow at {self._place} did not answer as it should ({plain_reason(error)}): look whether it "
                "runs and whether MLFLOW_TRACKING_URI is right."
            ) from error

    def _unknown(self, version: str) -> UnknownVersionError:
        with self._speaking():
            newest = [str(one.version) for one in islice(self._found(NEWEST), NEWEST)]
        if not newest:
            return UnknownVersionError(
                f"MLflow at {self._place} has no versions of a model '{self.model_name}': register one, or set "
                "BANANA_MODEL_NAME."
            )
        return UnknownVersionError(
            f"Model '{self.model_name}' in MLflow at {self._place} has no version '{version}': its newest are "
            f"{', '.join(newest)}."
        )


def _aliases(model: RegisteredModel) -> dict[str, str]:
    return {str(alias): str(version) for alias, version in model.aliases.items()}


def _staged(version: MlflowVersion, *, by_alias: bool) -> StagedVersion:
    by_stage = version.current_stage == STAGED
    moved = (by_stage and version.last_updated_timestamp) or version.creation_timestamp
    return StagedVersion(
        version=str(version.version),
        staged_at=moved / 1000,
        by_stage=by_stage,
        by_alias=by_alias,
        wishes=wishes(version.tags),
    )
