"""Has the export done by a Job of its own, which is made from a PodTemplate and shares one folder with the delivery."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from banana_delivery.errors import ExportError
from banana_delivery.export import sandbox
from banana_delivery.export.apart.order import Made, Order
from banana_delivery.export.export import (
    LIMIT_SECONDS,
    MODEL_FILE,
    SCAN_SECONDS,
    VERSION_FILE,
    Artifact,
    export_model,
    room_in,
    write_version_file,
)
from banana_delivery.export.jail.confine import MAX_FILE
from banana_delivery.export.precision.order import PrecisionOrder
from banana_delivery.export.protocol import Exported
from banana_delivery.files import copy_plain, file_sha256
from banana_delivery.model_registry.base import ModelVersion
from banana_delivery.settings import Settings
from banana_delivery.targets.kubernetes.api import Json, KubernetesApi
from banana_delivery.targets.kubernetes.jobs.templates import ACCOUNT, JobKind, TemplateJobs, container_in, see
from banana_delivery.waiting import SYSTEM_CLOCK, Clock

STEPS, STEPS_IN_F32 = 4, 2
"""That may take as long as an export: it and comparing it; without f32 alone, quantising it and judging that."""
EXPORT = JobKind(
    does="exports",
    container="export",
    setting="BANANA_EXPORT_TEMPLATE",
    failure=ExportError,
    more_time=", or give it more time (BANANA_EXPORT_SECONDS)",
)
_MODULE = "banana_delivery.export.apart.worker"


@dataclass(frozen=True)
class ExportJobs:
    """Exports as ``export_model`` does, elsewhere.

    Attributes:
        template: PodTemplate from which the Job is made.
        home: where the volume is mounted here.
        api: the cluster we run in.
        account: where Kubernetes says in which namespace of it.
        clock: tells how long it takes.
        limit: seconds that an export may take, and each other step that takes as long.
        steps: how many such steps there are.
    """

    template: str
    home: Path
    api: KubernetesApi = field(default_factory=KubernetesApi)
    account: Path = ACCOUNT
    clock: Clock = SYSTEM_CLOCK
    limit: float = LIMIT_SECONDS
    steps: int = STEPS_IN_F32

    @property
    def work_seconds(self) -> float:
        """What its steps may take together, and what lies between them."""
        return SCAN_SECONDS + self.steps * self.limit + 60.0

    def __call__(
        self,
        checkpoint: Path,
        to: Path,
        model: ModelVersion,
        images: Sequence[Path],
        progress: Callable[[str], object],
        *,
        judged: Sequence[str] = (),
        judged_by: str = "",
        precision: PrecisionOrder | None = None,
    ) -> Artifact:
        """See ``export_model``.

        Raises:
            RejectedModelError: if the model must not be delivered.
            ExportError: if the export could not be carried out.
        """
        start = time.monotonic()
        checkpoint_sha256 = file_sha256(checkpoint)
        with room_in(to, ".exporting-") as shared:
            order = _put(
                Order(
                    checkpoint=checkpoint,
                    to=shared / "made",
                    model=model,
                    images=tuple(images),
                    judged=tuple(judged),
                    judged_by=judged_by,
                    limit=self.limit,
                    precision=precision,
                ),
                shared,
            )
            made = self._made(order, shared, progress)
            artifact = _taken(made, order, to, checkpoint_sha256)
        return artifact.replace(seconds=time.monotonic() - start)

    def _made(self, order: Order, shared: Path, progress: Callable[[str], object]) -> Made:
        asked, answered, log = (shared / name for name in ("order.json", "answer.json", "output.log"))
        asked.write_text(order.model_dump_json())
        jobs = TemplateJobs(EXPORT, self.template, self.api, self.account, self.clock)
        arguments = [str(asked), str(answered)]
        code = jobs.run(lambda pod: exporting(pod, arguments, shared, self.home), self.work_seconds, progress)
        made = sandbox.understood(
            _MODULE, code, Made, answered, log, sandbox.Limits(self.work_seconds, self.work_seconds)
        )
        for line in made.said:
            progress(line)
        return made


def exporter_for(settings: Settings) -> Callable[..., Artifact]:
    """What exports: processes of the delivery's own machine, or where a PodTemplate is named a Job for each export."""
    if not settings.export_template:
        return partial(export_model, limit=settings.export_seconds)
    steps = STEPS_IN_F32 if settings.precision == "f32" else STEPS
    return ExportJobs(settings.export_template, settings.home, limit=settings.export_seconds, steps=steps)


def exporting(pod: Json, arguments: Sequence[str], shared: Path, home: Path) -> Json:
    """The pod of an export, from the template's metadata and spec."""
    container = container_in(pod, EXPORT)
    program = [sys.executable, "-P", "-m", _MODULE, *arguments]
    # By the shell, since what it prints lies where the delivery looks when it fails.
    container["command"] = ["/bin/sh", "-c", 'exec "$@" >output.log 2>&1', "sh", *program]
    container["workingDir"] = str(shared)
    see(container, shared, home, str(shared))
    return pod


def _put(order: Order, shared: Path) -> Order:
    """Copy what the order names into the shared folder; returns it with the new paths."""
    order.to.mkdir()
    given = shared / "given"
    given.mkdir()
    checkpoint = Path(shutil.copy(order.checkpoint, given / "best.pt"))
    images = [Path(shutil.copy(one, given / f"{index}{one.suffix}")) for index, one in enumerate(order.images)]
    return order.replace(
        checkpoint=checkpoint,
        images=tuple(images),
        precision=order.precision and _put_precision(order.precision, given),
    )


def _put_precision(order: PrecisionOrder, given: Path) -> PrecisionOrder:
    calibration = [
        Path(shutil.copy(one, given / f"c{index}{one.suffix}")) for index, one in enumerate(order.calibration)
    ]
    judging = [
        one.replace(path=Path(shutil.copy(one.path, given / f"j{index}{one.path.suffix}")))
        for index, one in enumerate(order.judging)
    ]
    return order.replace(calibration=tuple(calibration), judging=tuple(judging))


def _taken(made: Made, order: Order, to: Path, checkpoint_sha256: str) -> Artifact:
    """Take the model into the delivery's folder, and describe it by what is seen here."""
    with tempfile.TemporaryDirectory(prefix=".taking-", dir=to) as name:
        taken = Path(name)
        copy_plain(order.to / MODEL_FILE, taken / MODEL_FILE, MAX_FILE)
        onnx_sha256 = file_sha256(taken / MODEL_FILE)
        facts = Exported(
            classes=made.classes,
            frame=made.frame,
            exported_with=made.exported_with,
            answers=(),
            frames=(),
            frame_answers=(),
        )
        write_version_file(taken, order.model, facts, checkpoint_sha256, onnx_sha256, made.precision)
        for file in (MODEL_FILE, VERSION_FILE):
            (taken / file).replace(to / file)
    return Artifact(
        checkpoint_sha256=checkpoint_sha256,
        onnx_sha256=onnx_sha256,
        classes=made.classes,
        frame=made.frame,
        exported_with=made.exported_with,
        parity=made.parity,
        precision=made.precision,
        seconds=0.0,
    )
