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

How this process talks to MLflow: within bounded time, without telemetry, and with errors a person can read.

Nothing here imports MLflow before it is needed: that takes seconds, and loading the code location must not.
"""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from typing_extensions import override

from banana_delivery.errors import MissingCheckpointError, RegistryError, UnknownVersionError
from banana_delivery.model_registry import checkpoint
from banana_delivery.model_registry.base import ModelRegistry, ModelVersion, StagedVersion
from banana_delivery.model_registry.transitions import (
    STAGED,
    DropAlias,
    SetAlias,
    SetStage,
    Step,
    is_staged_alias,
    mark_tags,
    steps,
)
from banana_delivery.names import TIME_TAG
from banana_delivery.policy.outcomes import RegistryMark

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

PAGE = 1000
"""Versions asked for in one call."""


class MlflowRegistry(ModelRegistry):
    """One registered model of an MLflow server.

    ``staged`` costs one call for the aliases and one for each 1,000 versions of the model.

    Args:
        model_name: the registered model.
        tracking_uri: the server. Its registry is used too, unless ``MLFLOW_REGISTRY_URI`` names another one.
        clock: seconds since the epoch, for the tag ``banana.at``.
    """

    def __init__(self, model_name: str, tracking_uri: str, clock: Callable[[], float] = time.time) -> None:
        self.model_name = model_name
        self.tracking_uri = tracking_uri
        self._place = without_credentials(tracking_uri)
        self._clock = clock

    @cached_property
    def _client(self) -> MlflowClient:
        return open_client(self.tracking_uri)

    @override
    def staged(self) -> list[StagedVersion]:
        """A model that nobody has registered yet has no staged versions."""
        try:
            with self._speaking():
                aliases, versions = self._aliases(), self._versions()
        except UnknownVersionError:
            return []
        by_alias = {version for alias, version in aliases.items() if is_staged_alias(alias)}
        staged = [
            _staged(version, by_alias=str(version.version) in by_alias)
            for version in versions
            if version.current_stage == STAGED or str(version.version) in by_alias
        ]
        return sorted(staged, key=lambda one: (one.staged_at, int(one.version)))

    @override
    def describe(self, version: str) -> ModelVersion:
        with self._speaking(version):
            found = self._latest() if version == "latest" else self._version(version)
            return ModelVersion(
                name=found.name,
                version=str(found.version),
                run_id=found.run_id or "",
                source=found.source or "",
                stage=found.current_stage or "None",
                aliases=tuple(sorted(found.aliases)),
                tags=dict(found.tags),
                metrics=self._metrics(found.run_id),
                created_at=found.creation_timestamp / 1000,
            )

    @override
    def download(self, version: str, to: Path) -> Path:
        with self._speaking(version):
            number = str(self._latest().version) if version == "latest" else str(self._version(version).version)
            where = f"version {number} of model '{self.model_name}' ({self._place})"
            uri = self._client.get_model_version_download_uri(self.model_name, number)
            try:
                return self._fetch(uri, to, where)
            except failures() as error:
                place = without_credentials(uri)
                if is_missing(error):
                    raise MissingCheckpointError(
                        f"The source {place} of {where} does not exist: register the version with the artifacts of a "
                        "finished run."
                    ) from error
                raise RegistryError(
                    f"The artifacts of {where} cannot be read from {place} ({plain_reason(error)}): look whether that "
                    "store can be reached from here with the credentials in the environment."
                ) from error

    @override
    def mark(self, version: str, mark: RegistryMark) -> None:
        """Tags come first, then what serves, then the version leaves the staged set.

        Broken off anywhere and repeated it ends the same.

        Raises:
            UnknownVersionError: if the version does not exist (nothing was written), or if the serving one does not
                (all else was written).
        """
        with self._speaking(version):
            self._write_tags(self._version(version), mark)
            stages = {str(one.version): str(one.current_stage) for one in self._versions()}
            for step in steps(stages, self._aliases(), version, mark):
                self._apply(step)
            if mark.serving is not None and mark.serving not in stages:
                raise self._unknown(mark.serving)

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

    def _latest(self) -> MlflowVersion:
        newest = self._page(1, None)
        if not newest:
            raise self._unknown("latest")
        # Searching does not tell aliases; asking for the one version does.
        return self._client.get_model_version(self.model_name, str(newest[0].version))

    def _versions(self) -> list[MlflowVersion]:
        page = self._page(PAGE, None)
        result = list(page)
        while page.token:
            page = self._page(PAGE, page.token)
            result += page
        return result

    def _page(self, size: int, token: str | None) -> Any:
        # By number, since pages ordered by time would shift under a change between two calls.
        return self._client.search_model_versions(
            f"name = '{self.model_name}'", max_results=size, order_by=["version_number DESC"], page_token=token
        )

    def _aliases(self) -> dict[str, str]:
        model = self._client.get_registered_model(self.model_name)
        return {str(alias): str(version) for alias, version in model.aliases.items()}

    def _metrics(self, run_id: str | None) -> dict[str, float]:
        if not run_id:
            return {}
        try:
            return dict(self._client.get_run(run_id).data.metrics)
        except failures() as error:
            if is_missing(error):
                return {}
            raise

    def _fetch(self, uri: str, to: Path, where: str) -> Path:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        folder, path = checkpoint.split_source(uri)
        artifacts: Any = get_artifact_repository(folder, tracking_uri=self.tracking_uri)
        if path:
            return checkpoint.fetch(artifacts, path, None, to, where)
        entry = checkpoint.find(artifacts, where)
        return checkpoint.fetch(artifacts, entry.path, entry.file_size, to, where)

    def _write_tags(self, version: MlflowVersion, mark: RegistryMark) -> None:
        tags = mark_tags(mark)
        if all(version.tags.get(name) == value for name, value in tags.items()):
            return
        for name, value in {TIME_TAG: _timestamp(self._clock()), **tags}.items():
            self._client.set_model_version_tag(self.model_name, str(version.version), name, value)

    def _apply(self, step: Step) -> None:
        match step:
            case SetAlias(alias, version):
                self._client.set_registered_model_alias(self.model_name, alias, version)
            case DropAlias(alias, version):
                # Somebody may have moved it to the next version meanwhile. MLflow cannot remove an alias on
                # condition, so the moment between these two calls remains.
                if self._aliases().get(alias) == version:
                    self._client.delete_registered_model_alias(self.model_name, alias)
            case SetStage(version, stage):
                with warnings.catch_warnings():
                    # People stage in MLflow's pages; as long as MLflow has stages, they must say the truth.
                    warnings.filterwarnings(
                        "ignore", r".*transition_model_version_stage`` is deprecated", FutureWarning
                    )
                    self._client.transition_model_version_stage(self.model_name, version, stage)

    @contextmanager
    def _speaking(self, version: str = "") -> Iterator[None]:
        """Turn whatever MLflow's client raises into one sentence; what is not there is the version."""
        try:
            yield
        except failures() as error:
            if is_missing(error):
                raise self._unknown(version) from error
            raise RegistryError(
                f"MLflow at {self._place} did not answer as it should ({plain_reason(error)}): look whether it "
                "runs and whether MLFLOW_TRACKING_URI is right."
            ) from error

    def _unknown(self, version: str) -> UnknownVersionError:
        with self._speaking():
            newest = [str(one.version) for one in self._page(10, None)]
        if not newest:
            return UnknownVersionError(
                f"MLflow at {self._place} has no versions of a model '{self.model_name}': register one, or set "
                "BANANA_MODEL_NAME."
            )
        return UnknownVersionError(
            f"Model '{self.model_name}' in MLflow at {self._place} has no version '{version}': its newest are "
            f"{', '.join(newest)}."
        )


def _staged(version: MlflowVersion, *, by_alias: bool) -> StagedVersion:
    by_stage = version.current_stage == STAGED
    moved = (by_stage and version.last_updated_timestamp) or version.creation_timestamp
    return StagedVersion(version=str(version.version), staged_at=moved / 1000, by_stage=by_stage, by_alias=by_alias)


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


CLIENT_ENVIRONMENT = {
    # A refused connection is told after 2 s and a silent server after 17 s; MLflow's own values take minutes.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0.2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""What MLflow's client is told through this process's environment, unless somebody set it otherwise."""


def open_client(tracking_uri: str) -> MlflowClient:
    """A client of one server; its registry is used too, unless ``MLFLOW_REGISTRY_URI`` names another one."""
    for name, value in CLIENT_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri)


def failures() -> tuple[type[Exception], ...]:
    """Everything that MLflow's client and its artifact stores raise when a server, a store or a disk fails them."""
    from botocore.exceptions import (  # type: ignore[import-untyped]
        BotoCoreError,
        ClientError,
    )
    from mlflow.exceptions import MlflowException

    # ImportError: the artifact store's own client (Azure, Google) is not installed here.
    return MlflowException, BotoCoreError, ClientError, OSError, ImportError


def is_missing(error: Exception) -> bool:
    """Whether the error says that the thing asked for does not exist."""
    return getattr(error, "error_code", "") in {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}


def plain_reason(error: Exception) -> str:
    """Why it failed, in a few words: the system's own if a connection or a file failed, else the error's first line.

    Credentials within a URL are left out.
    """
    root: BaseException = error
    while cause := root.__cause__ or root.__context__:
        root = cause
    text = (root.strerror if isinstance(root, OSError) else None) or str(error).strip() or type(error).__name__
    return re.sub(r"//[^/@\s]+@", "//", text.splitlines()[0])[:300].rstrip(".")


def without_credentials(uri: str) -> str:
    """The URI without user, password and query, any of which may be a secret."""
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
