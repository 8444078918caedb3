"""A version's artifacts, wherever MLflow keeps them: what is there, what is proven to be missing, what cannot be said.

MLflow's own repository for ``runs:/`` answers "does not exist" whatever went wrong in a download (a connection that
broke, half a body, a timeout), so files are fetched from the store behind it, which says what happened.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from banana_delivery.errors import MissingCheckpointError, RegistryError, RegistryRefusedError
from banana_delivery.model_registry import checkpoint, roots
from banana_delivery.model_registry.client import failures, is_missing, patient, plain_reason, without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Place:
    """Where a version's artifacts are.

    Attributes:
        uri: the version's source.
        run_id: its run; empty if none is recorded.
        where: how messages call the version.
    """

    uri: str
    run_id: str
    where: str


def download(client: MlflowClient, place: Place, to: Path, allowed: Collection[str] = ()) -> Path:
    """Fetch the one ``best.pt`` of a source.

    Args:
        client: knows the version's run.
        place: where it is.
        to: folder for the file.
        allowed: addresses below which it may lie beside MLflow's own artifacts.

    Raises:
        RegistryRefusedError: if it lies elsewhere; nothing was asked there, and no login sent.
        MissingCheckpointError: if it is proven that there is none: MLflow knows the run no more, or the store lists
            other files.
        RegistryError: if the store cannot be reached, lists nothing at all, or what arrived is not what was listed.
    """
    with _asking(client, place, allowed) as source:
        return source.fetch(to)


def signature(client: MlflowClient, place: Place, to: Path, allowed: Collection[str] = ()) -> Path | None:
    """Fetch the ``model.sig`` of a source; None if it is proven that its ``best.pt`` has none.

    Args:
        client: knows the version's run.
        place: where it is.
        to: folder for the file.
        allowed: addresses below which it may lie beside MLflow's own artifacts.

    Raises:
        RegistryRefusedError: if it lies elsewhere; nothing was asked there, and no login sent.
        RegistryError: if the store cannot be reached, or does not say the same twice.
    """
    with _asking(client, place, allowed) as source:
        return source.fetch_signature(to)


@contextmanager
def _asking(client: MlflowClient, place: Place, allowed: Collection[str]) -> Iterator[_Source]:
    try:
        with patient():
            yield _Source(client, place.uri, place.run_id, place.where, allowed)
    except failures() as error:
        raise RegistryError(
            f"The artifacts of {place.where} cannot be read from {without_credentials(place.uri)} "
            f"({plain_reason(error)}): look whether that store can be reached from here with the credentials in the "
            "environment."
        ) from error


class _Source:
    """Where a version's artifacts are.

    Args:
        client: knows the version's run.
        uri: the version's source.
        run_id: its run; empty if none is recorded.
        where: how messages call the version.
        allowed: addresses below which it may lie beside MLflow's own artifacts.
    """

    def __init__(self, client: MlflowClient, uri: str, run_id: str, where: str, allowed: Collection[str]) -> None:
        self._client = client
        self._allowed = allowed
        self._place = without_credentials(uri)
        self._where = where
        folder, self._file = checkpoint.split_source(uri)
        self._run_id = run_id
        self._refuse(folder, self._own_roots(folder))
        self._outer = self._open(folder)
        self._inner = self._behind(self._outer)
        if self._inner is not self._outer:
            # What a run is resolved to, MLflow says itself; of a host even that is not believed.
            address = str(self._inner.artifact_uri)
            said = (address,) if folder.startswith("runs:") else self._own_roots(folder)
            self._refuse(address, said)

    def fetch(self, to: Path) -> Path:
        """Find the file and download it."""
        for artifacts in dict.fromkeys((self._inner, self._outer)):
            try:
                entry = checkpoint.find(lambda store=artifacts: self._list(store), self._where)  # type: ignore[misc]
            except MissingCheckpointError:
                if artifacts is self._outer:
                    raise
                continue  # A model that was logged by the run is listed by the outer one alone.
            except failures():
                if not self._file:
                    raise
                # Whoever may read a file need not be allowed to list its folder.
                return checkpoint.fetch(artifacts, self._file, None, to, self._where, failures())
            if entry:
                return checkpoint.fetch(artifacts, entry.path, entry.file_size, to, self._where, failures())
        if self._run_lists_files():
            raise MissingCheckpointError(
                f"The source {self._place} of {self._where} does not exist, though its run has other artifacts: "
                "register the version with the artifacts of a finished run."
            )
        raise RegistryError(
            f"The artifact store lists nothing at all at {self._place} for {self._where}: look whether its volume is "
            "mounted and its bucket is the right one. If that run never logged an artifact, log the checkpoint and "
            "register the version again."
        )

    def fetch_signature(self, to: Path) -> Path | None:
        """Find the signature beside the one ``best.pt`` and download it; that there is none is believed if said twice.

        The same listing has to show the checkpoint: one that shows nothing says nothing of a signature either.
        """
        for artifacts in dict.fromkeys((self._inner, self._outer)):
            listing = self._list(artifacts)
            if len(listing.checkpoints) != 1:
                continue
            if path := checkpoint.signature_path(listing):
                return checkpoint.fetch(artifacts, path, None, to, self._where, failures())
            if self._list(artifacts).files == listing.files:
                return None
        raise RegistryError(
            f"What lies beside best.pt of {self._where} is not listed, or differently each time, so that nobody knows "
            "whether it is signed: allow listing that folder, or try again in a minute."
        )

    def _refuse(self, address: str, own: Collection[str]) -> None:
        if why := roots.refusal(address, str(self._client.tracking_uri), own, self._allowed):
            raise RegistryRefusedError(
                f"The source {without_credentials(address)} of {self._where} {why}, so nothing was asked there: "
                "register the version with the artifacts of its run, or add the place to BANANA_ARTIFACT_ROOTS."
            )

    def _own_roots(self, folder: str) -> tuple[str, ...]:
        """Where MLflow keeps what the version's run logged, and the model that the source names."""
        found: list[str] = []
        for run_id in {self._run_id, self._run_behind(folder)} - {""}:
            with suppress(*failures()):
                run = self._client.get_run(run_id)
                experiment = self._client.get_experiment(run.info.experiment_id)
                found += [str(run.info.artifact_uri), str(experiment.artifact_location)]
        name = urlsplit(folder).path.strip("/")
        if folder.startswith("models:") and name.startswith("m-"):
            with suppress(*failures()):
                found.append(str(self._client.get_logged_model(name.partition("/")[0]).artifact_location))
        return tuple(found)

    def _run_behind(self, folder: str) -> str:
        """The run of the version that a source ``models:/name/version`` names; empty if it names none."""
        name, _, version = urlsplit(folder).path.strip("/").rpartition("/")
        if not folder.startswith("models:") or not version.isdecimal():
            return ""
        with suppress(*failures()):
            return str(self._client.get_model_version(name, version).run_id or "")
        return ""

    def _list(self, artifacts: Any) -> checkpoint.Listing:
        if not self._file:
            return checkpoint.list_below(artifacts, self._where)
        files = [entry for entry in artifacts.list_artifacts(None) if not entry.is_dir]
        named = tuple(entry for entry in files if entry.path == self._file)
        return checkpoint.Listing(named, frozenset(entry.path for entry in files if entry not in named))

    def _run_lists_files(self) -> bool:
        """Whether the store that the source is in holds other files of the same run."""
        if not self._run_id:
            return False
        root = self._open(self._client.get_run(self._run_id).info.artifact_uri)
        if not self._inner.artifact_uri.startswith(root.artifact_uri):
            return False  # Another store, about which this one says nothing.
        return bool(checkpoint.list_below(root, self._where).files)

    def _open(self, uri: str) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        try:
            return get_artifact_repository(uri, tracking_uri=self._client.tracking_uri)
        except failures() as error:
            # Only MLflow's own database is asked here, and it answered.
            if is_missing(error):
                raise MissingCheckpointError(
                    f"The source {self._place} of {self._where} does not exist: register the version with the "
                    "artifacts of a finished run."
                ) from error
            raise

    def _behind(self, artifacts: Any) -> Any:
        """The store itself, without what MLflow wraps around it."""
        from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository
        from mlflow.store.artifact.runs_artifact_repo import RunsArtifactRepository

        while isinstance(artifacts, ModelsArtifactRepository | RunsArtifactRepository):
            if isinstance(artifacts, RunsArtifactRepository):
                self._run_id = urlsplit(artifacts.artifact_uri).path.split("/")[1]
            artifacts = artifacts.repo
        return artifacts
