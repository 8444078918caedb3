"""Dagster's compute logs on a volume that outlives the pods: runs write there, the pages only read.

A run prints into its own scratch space, and a copy follows every few seconds and at its end. Printing straight into the
volume would let one that hangs stop a delivery in the middle of a shift; a copy that cannot be written, or does not
come to an end, costs the copy. Of what is printed without end the beginning and the end stay.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from dagster import Field, IntSource, StringSource
from dagster._core.storage.cloud_storage_compute_log_manager import (
    PollingComputeLogSubscriptionManager,
    TruncatingCloudStorageComputeLogManager,
)
from dagster._core.storage.compute_log_manager import CapturedLogContext, CapturedLogSubscription, ComputeIOType
from dagster._core.storage.local_compute_log_manager import IO_TYPE_EXTENSION, LocalComputeLogManager
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from typing_extensions import override

from banana_delivery.embedded.output.bounded import bounding

LOG = logging.getLogger(__name__)
COPY_SECONDS = 10
LAST_SECONDS = 30.0
"""A run waits so long for its last copy, which is bounded; then it ends without, and gives its slot back."""


class VolumeComputeLogs(TruncatingCloudStorageComputeLogManager[Any], ConfigurableClass):
    """Compute logs below a folder of the volume, laid out as Dagster does it: ``<run>/compute_logs/<step>.err``.

    Args:
        folder: on the volume. Whoever may only read it can show what lies there.
        copy_seconds: between two copies of what a step has printed so far.
        inst_data: what the instance was configured by.
    """

    def __init__(
        self, folder: str, copy_seconds: int = COPY_SECONDS, inst_data: ConfigurableClassData | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._inst_data = inst_data
        self._copy_seconds = copy_seconds
        self._kept = LocalComputeLogManager(folder)
        self._scratch = LocalComputeLogManager(str(Path(tempfile.gettempdir()) / "compute-logs"))
        self._subscriptions = PollingComputeLogSubscriptionManager(self)  # type: ignore[no-untyped-call]

    @property
    @override
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    @override
    def config_type(cls) -> dict[str, Any]:
        return {"folder": StringSource, "copy_seconds": Field(IntSource, is_required=False)}

    @classmethod
    @override
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> VolumeComputeLogs:
        return cls(inst_data=inst_data, **config_value)

    @property
    @override
    def local_manager(self) -> LocalComputeLogManager:
        return self._scratch

    @property
    @override
    def upload_interval(self) -> int:
        return self._copy_seconds

    @contextmanager
    @override
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """A step that prints without end must not fill the scratch space: the pod would be evicted in its delivery."""
        with bounding(), super().capture_logs(log_key) as context:
            yield context

    @override
    def get_log_data_for_type(
        self, log_key: Sequence[str], io_type: ComputeIOType, offset: int, max_bytes: int | None
    ) -> tuple[bytes | None, int]:
        """Straight from the volume, so that the pages need no room for copies of their own."""
        places = (self._kept_at(log_key, io_type), self._kept_at(log_key, io_type, partial=True))
        there = next((path for path in (self._printed(log_key, io_type), *places) if path.is_file()), None)
        if there is None:
            return None, offset
        data, end = self._kept.read_path(str(there), offset=offset, max_bytes=max_bytes)
        return data, end

    @override
    def cloud_storage_has_logs(self, log_key: Sequence[str], io_type: ComputeIOType, partial: bool = False) -> bool:
        return self._kept_at(log_key, io_type, partial=partial).is_file()

    @override
    def display_path_for_type(self, log_key: Sequence[str], io_type: ComputeIOType) -> str:
        return str(self._kept_at(log_key, io_type))

    @override
    def download_url_for_type(self, log_key: Sequence[str], io_type: ComputeIOType) -> None:
        """None: what is shown is all of it."""

    @override
    def delete_logs(self, log_key: Sequence[str] | None = None, prefix: Sequence[str] | None = None) -> None:
        for manager in (self._scratch, self._kept):
            # The pages may not.
            with suppress(OSError):
                manager.delete_logs(log_key=log_key, prefix=prefix)

    @override
    def on_subscribe(self, subscription: CapturedLogSubscription) -> None:
        self._subscriptions.add_subscription(subscription)

    @override
    def on_unsubscribe(self, subscription: CapturedLogSubscription) -> None:
        self._subscriptions.remove_subscription(subscription)

    @override
    def dispose(self) -> None:
        self._subscriptions.dispose()
        super().dispose()  # type: ignore[no-untyped-call]

    @override
    def upload_to_cloud_storage(self, log_key: Sequence[str], io_type: ComputeIOType, partial: bool = False) -> None:
        """The last copy is made also where an earlier one was cut off: the pages know by it that a step is over."""
        if not partial:
            self._truncated.discard((tuple(log_key), io_type))
        super().upload_to_cloud_storage(log_key, io_type, partial)

    @override
    def _on_capture_complete(self, log_key: Sequence[str]) -> None:
        copying = threading.Thread(target=super()._on_capture_complete, args=(log_key,), name="last-copy", daemon=True)
        copying.start()
        copying.join(LAST_SECONDS)
        if copying.is_alive():
            LOG.warning(
                "The volume takes no copy of what this step prints within %.0f s; the run ends without.", LAST_SECONDS
            )

    @override
    def _upload_file_obj(
        self, data: IO[bytes], log_key: Sequence[str], io_type: ComputeIOType, partial: bool = False
    ) -> None:
        try:
            self._copy(data, self._kept_at(log_key, io_type, partial=partial))
            if not partial:
                self._kept_at(log_key, io_type, partial=True).unlink(missing_ok=True)
        except OSError as error:
            LOG.warning("What this step prints is not kept on the volume: %s", error)

    @staticmethod
    def _copy(data: IO[bytes], to: Path) -> None:
        to.parent.mkdir(parents=True, exist_ok=True)
        unfinished = to.with_name(f"{to.name}.new")
        with unfinished.open("wb") as file:
            shutil.copyfileobj(data, file)
        unfinished.replace(to)

    def _kept_at(self, log_key: Sequence[str], io_type: ComputeIOType, *, partial: bool = False) -> Path:
        return Path(self._kept.get_captured_local_path(log_key, IO_TYPE_EXTENSION[io_type], partial))

    def _printed(self, log_key: Sequence[str], io_type: ComputeIOType) -> Path:
        return Path(self._scratch.get_captured_local_path(log_key, IO_TYPE_EXTENSION[io_type]))
