"""Has the export done by a Job of its own, which is made from a PodTemplate and shares one folder with the delivery.

The folder is one of the home's volume, mounted by its ``subPath`` where the delivery has it: nothing else of the home
is seen there. A Job is not ended when its delivery is, since whoever may end one may end them all: it has a deadline.
"""

from __future__ import annotations

import copy
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from uuid import uuid4

from banana_delivery.errors import ExportError, TargetError
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
from banana_delivery.files import file_sha256
from banana_delivery.model_registry.base import ModelVersion
from banana_delivery.settings import Settings
from banana_delivery.targets.kubernetes.api import Json, KubernetesApi
from banana_delivery.waiting import SYSTEM_CLOCK, Clock, Deadline

START_SECONDS = 1200.0
"""It may wait so long for a node with room and for the image, as a delivery itself may."""
STEPS, STEPS_IN_F32 = 4, 2
"""That may take as long as an export: it and comparing it; without f32 alone, quantising it and judging that."""
LOOK_SECONDS = 1.0
GONE_SECONDS = 30.0
"""After so long without a pod somebody has ended the Job."""
KEPT_SECONDS = 3600
"""How long its log can be read."""
VOLUME, CONTAINER = "home", "export"
"""As the PodTemplate calls them."""
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
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

    @property
    def namespace(self) -> str:
        """The delivery's own.

        Raises:
            ExportError: if it runs in no cluster.
        """
        try:
            return (self.account / "namespace").read_text().strip()
        except OSError as error:
            raise ExportError(
                "BANANA_EXPORT_TEMPLATE is for deliveries that run in a cluster; for this one set it to nothing."
            ) from error

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
        try:
            name = self._create([str(asked), str(answered)], shared)
            progress(f"Exporting in Job {name}")
            code = self._code(name)
        except TargetError as error:
            raise ExportError(f"The Job that exports could not be made or looked at: {error}") from error
        made = sandbox.understood(
            _MODULE, code, Made, answered, log, sandbox.Limits(self.work_seconds, self.work_seconds)
        )
        for line in made.said:
            progress(line)
        return made

    def _create(self, arguments: Sequence[str], shared: Path) -> str:
        found = self.api.get(f"/api/v1/namespaces/{self.namespace}/podtemplates/{self.template}")
        if found is None:
            raise ExportError(
                f"There is no PodTemplate {self.template} in namespace {self.namespace}, from which the Job that "
                "exports is made: apply k8s/base/dagster, or set BANANA_EXPORT_TEMPLATE to nothing."
            )
        name = f"banana-export-{uuid4().hex[:10]}"
        body = job_from(found["template"], name, arguments, shared, self.home, self.work_seconds)
        self.api.create(f"/apis/batch/v1/namespaces/{self.namespace}/jobs", body)
        return name

    def _code(self, name: str) -> int:
        """Wait for the end of a Job's pod; returns its program's exit code."""
        seen, waiting, working = Deadline(GONE_SECONDS, self.clock), Deadline(START_SECONDS, self.clock), None
        while True:
            pod = self._pod(name)
            if pod is None and seen.passed:
                raise ExportError("The Job that exports was ended by somebody, or its pod's node is gone: try again.")
            if pod is not None:
                seen = Deadline(GONE_SECONDS, self.clock)
                if (code := ended(pod)) is not None:
                    return code
                if working is None and pod.get("status", {}).get("phase") == "Running":
                    working = Deadline(self.work_seconds, self.clock)
            if (working or waiting).passed:
                raise ExportError(_late(pod, self.work_seconds if working else None))
            self.clock.sleep(LOOK_SECONDS)

    def _pod(self, name: str) -> Json | None:
        found = self.api.get(f"/api/v1/namespaces/{self.namespace}/pods", labelSelector=f"job-name={name}")
        pods: list[Json] = (found or {"items": []})["items"]
        return pods[0] if pods else None


def exporter_for(settings: Settings) -> Callable[..., Artifact]:
    """What exports: processes of the delivery's own machine, or where a PodTemplate is named a Job for each export."""
    if not settings.export_template:
        return partial(export_model, limit=settings.export_seconds)
    steps = STEPS_IN_F32 if settings.precision == "f32" else STEPS
    return ExportJobs(settings.export_template, settings.home, limit=settings.export_seconds, steps=steps)


def job_from(template: Json, name: str, arguments: Sequence[str], shared: Path, home: Path, seconds: float) -> Json:
    """The Job, from the template's metadata and spec."""
    pod = copy.deepcopy(template)
    spec = pod["spec"]
    container = next(one for one in spec["containers"] if one["name"] == CONTAINER)
    program = [sys.executable, "-P", "-m", _MODULE, *arguments]
    # By the shell, since what it prints lies where the delivery looks when it fails.
    container["command"] = ["/bin/sh", "-c", 'exec "$@" >output.log 2>&1', "sh", *program]
    container["workingDir"] = str(shared)
    mount = {"name": VOLUME, "mountPath": str(shared), "subPath": str(shared.relative_to(home))}
    container["volumeMounts"] = [*container.get("volumeMounts", []), mount]
    spec |= {"restartPolicy": "Never"}
    labels = pod.get("metadata", {}).get("labels", {})
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": int(START_SECONDS + seconds),
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": pod,
        },
    }


def ended(pod: Json) -> int | None:
    """The exit code of a pod's program as a shell says it, minus the signal where one ended it; None: it goes on.

    Raises:
        ExportError: if the pod ended otherwise: its node is gone, it was evicted.
    """
    status = pod.get("status", {})
    for one in status.get("containerStatuses", []):
        if one["name"] == CONTAINER and (end := one.get("state", {}).get("terminated")):
            code = int(end.get("exitCode", 1))
            return 128 - code if code > 128 else code
    if status.get("phase") == "Failed":
        why = status.get("message") or status.get("reason") or "no reason given"
        raise ExportError(f"The pod that exports was ended ({why}): try again.")
    return None


def _late(pod: Json | None, seconds: float | None) -> str:
    if seconds:
        return (
            f"The Job that exports did not end within {seconds:.0f} s: try again when its node is less busy, or "
            "give it more time (BANANA_EXPORT_SECONDS)."
        )
    conditions: Iterable[Json] = (pod or {}).get("status", {}).get("conditions", [])
    why = next((one["message"] for one in conditions if one.get("message")), "no reason given")
    return f"The pod that exports did not start within {START_SECONDS:.0f} s ({why}): give it room, and try again."


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
        sandbox.copy_plain(order.to / MODEL_FILE, taken / MODEL_FILE, MAX_FILE)
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
