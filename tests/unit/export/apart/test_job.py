"""The export in a Job of its own: what the Job may see, and what is made of every way in which it can end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from banana_delivery.errors import ExportError, UnsafeModelError
from banana_delivery.export.apart.job import ExportJobs, exporter_for
from banana_delivery.export.apart.order import Made, Order
from banana_delivery.export.export import LIMIT_SECONDS, SCAN_SECONDS, Artifact, export_model
from banana_delivery.export.parity import Agreement, Parity
from banana_delivery.export.precision.order import JudgingImage, PrecisionOrder
from banana_delivery.export.protocol import Frame, Rejection
from banana_delivery.files import file_sha256
from banana_delivery.model_registry.base import ModelVersion
from banana_delivery.policy.quality.margins import QualityMargins
from banana_delivery.policy.quality.precision import Asked, Precision, PrecisionChoice
from banana_delivery.settings import Settings
from banana_delivery.targets.kubernetes.jobs.templates import GONE_SECONDS, START_SECONDS
from tests import ROOT
from tests.support.clock import HandClock

TEMPLATE = next(
    thing
    for thing in yaml.safe_load_all((ROOT / "k8s/base/dagster/export.yaml").read_text())
    if thing["kind"] == "PodTemplate"
)
VERSION = ModelVersion(
    name="detector",
    version="7",
    run_id="r",
    source="s",
    stage="Staging",
    aliases=(),
    tags={},
    metrics={},
    created_at=0.0,
)
ALIKE = Agreement(detections=1, agreeing=1, max_box_difference_px=0.0, max_score_difference=0.0)
WORK_SECONDS = SCAN_SECONDS + 2 * LIMIT_SECONDS + 60.0

MADE = Made(
    classes=("streak",),
    frame=Frame(width=640, height=640, stride=32, stretched=False),
    exported_with="programs",
    parity=Parity(images=1, same_pixels=ALIKE, files=ALIKE, passed=True, reason="alike"),
    said=("Exported 1 class",),
)
DONE = {"phase": "Succeeded", "containerStatuses": [{"name": "export", "state": {"terminated": {"exitCode": 0}}}]}


WAITS = {"name": "export", "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "no Secret x"}}}


def exited(code: int) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "export", "state": {"terminated": {"exitCode": code}}}]}


@dataclass
class Cluster:
    """An API server that makes Jobs; a test says what becomes of each.

    Attributes:
        work: what the pod does in the shared folder.
        looks: the status of the pod at each look, the last one for ever; None: there is no pod.
        jobs: what was made.
    """

    work: Callable[[Order, Path], None]
    looks: list[dict[str, Any] | None]
    template: dict[str, Any] | None = field(default_factory=lambda: TEMPLATE)
    jobs: list[dict[str, Any]] = field(default_factory=list)

    def get(self, path: str, **query: str) -> dict[str, Any] | None:
        if path.endswith("/podtemplates/banana-delivery-export"):
            return self.template
        assert (path, query) == (
            "/api/v1/namespaces/here/pods",
            {"labelSelector": f"job-name={self.jobs[-1]['metadata']['name']}"},
        )
        status = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return {"items": [] if status is None else [{"status": status}]}

    def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert path == "/apis/batch/v1/namespaces/here/jobs"
        self.jobs.append(body)
        asked, answered = map(Path, container(body)["command"][-2:])
        self.work(Order.model_validate_json(asked.read_text()), answered)
        return body


def container(job: dict[str, Any]) -> dict[str, Any]:
    (found,) = job["spec"]["template"]["spec"]["containers"]
    return dict(found)


def makes(order: Order, answered: Path) -> None:
    (order.to / "model.onnx").write_bytes(b"model of " + order.checkpoint.read_bytes())
    answered.write_text(MADE.model_dump_json())


def does_nothing(order: Order, answered: Path) -> None:
    """Dies before it answers."""


def export(
    tmp_path: Path,
    cluster: Cluster,
    said: list[str] | None = None,
    limit: float = LIMIT_SECONDS,
    precision: PrecisionOrder | None = None,
) -> tuple[Artifact, Path]:
    home, account = tmp_path / "home", tmp_path / "account"
    to = home / "artifacts" / "7"
    to.mkdir(parents=True)
    account.mkdir()
    (account / "namespace").write_text("here\n")
    checkpoint, image = tmp_path / "best.pt", tmp_path / "leaf.jpg"
    checkpoint.write_bytes(b"weights")
    image.write_bytes(b"leaf")
    api: Any = cluster
    jobs = ExportJobs("banana-delivery-export", home, api, account, HandClock(), limit)
    progress = (said if said is not None else []).append
    made = jobs(
        *(checkpoint, to, VERSION, [image], progress), judged=("streak",), judged_by="ours", precision=precision
    )
    return made, to


def test_what_the_job_made_is_taken_and_described_by_what_is_seen_here(tmp_path: Path) -> None:
    said: list[str] = []
    artifact, to = export(tmp_path, Cluster(makes, [None, {"phase": "Pending"}, {"phase": "Running"}, DONE]), said)
    assert (to / "model.onnx").read_bytes() == b"model of weights"
    assert artifact.onnx_sha256 == file_sha256(to / "model.onnx")
    assert artifact.checkpoint_sha256 == file_sha256(tmp_path / "best.pt")
    assert artifact.onnx_sha256 in (to / "version.json").read_text()
    assert "Exported 1 class" in said
    assert sorted(path.name for path in to.iterdir()) == ["model.onnx", "version.json"]


def test_the_pod_sees_one_folder_of_the_home_and_has_no_token_secret_or_setting(tmp_path: Path) -> None:
    cluster = Cluster(makes, [DONE])
    export(tmp_path, cluster)
    (job,) = cluster.jobs
    spec, only = job["spec"]["template"]["spec"], container(job)
    (mount,) = [one for one in only["volumeMounts"] if one["name"] == "home"]
    assert mount["mountPath"] == str(tmp_path / "home" / mount["subPath"]) == only["workingDir"]
    assert mount["subPath"].startswith("artifacts/7/.exporting-")
    assert not {"env", "envFrom"} & set(only)
    assert [set(volume) - {"name"} for volume in spec["volumes"]] == [{"emptyDir"}, {"persistentVolumeClaim"}]
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == ("banana-delivery-export", False)
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["activeDeadlineSeconds"] >= START_SECONDS + WORK_SECONDS


def test_a_model_that_the_job_rejects_is_rejected(tmp_path: Path) -> None:
    def rejects(order: Order, answered: Path) -> None:
        answered.write_text(Rejection(kind="UnsafeModelError", message="It calls os.system.").model_dump_json())

    with pytest.raises(UnsafeModelError, match=r"os\.system"):
        export(tmp_path, Cluster(rejects, [exited(3)]))


def answers_nonsense(order: Order, answered: Path) -> None:
    answered.write_text("{}")


def leaves_a_link(order: Order, answered: Path) -> None:
    makes(order, answered)
    (order.to / "model.onnx").unlink()
    (order.to / "model.onnx").symlink_to("/etc/passwd")


def complains(order: Order, answered: Path) -> None:
    (answered.parent / "output.log").write_text("warning\nThe process export_worker did not finish within 300 s.\n")


@pytest.mark.parametrize(
    ("work", "looks", "why"),
    [
        (does_nothing, [exited(137)], "killed, most likely for want of memory"),
        (complains, [exited(1)], r"exit code 1 \(The process export_worker did not finish within 300 s\.\)"),
        (answers_nonsense, [DONE], "answered what it should not"),
        (leaves_a_link, [DONE], "failed"),
        (does_nothing, [{"phase": "Failed", "reason": "Evicted", "message": "low on disk"}], "ended .low on disk"),
        (does_nothing, [{"phase": "Running"}, None], "ended by somebody"),
        (does_nothing, [{"phase": "Running"}], f"did not end within {WORK_SECONDS:.0f} s"),
        (does_nothing, [{"conditions": [{"message": "0/3 nodes"}]}], r"did not start within 1200 s \(0/3 nodes\)"),
        (does_nothing, [{"containerStatuses": [WAITS], "conditions": [{"message": "not ready"}]}], r"\(no Secret x\)"),
    ],
)
def test_however_else_the_job_ends_the_delivery_is_an_error_that_says_why(
    tmp_path: Path, work: Callable[[Order, Path], None], looks: list[dict[str, Any] | None], why: str
) -> None:
    with pytest.raises(ExportError, match=why):
        export(tmp_path, Cluster(work, looks))
    assert list((tmp_path / "home" / "artifacts" / "7").iterdir()) == []


def test_a_pod_that_is_listed_late_is_waited_for(tmp_path: Path) -> None:
    late: list[dict[str, Any] | None] = [None] * int(GONE_SECONDS / 2)
    artifact, _ = export(tmp_path, Cluster(makes, [*late, DONE]))
    assert artifact.classes == MADE.classes


def test_without_the_template_it_is_said_what_to_apply(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="apply k8s/base/dagster"):
        export(tmp_path, Cluster(makes, [DONE], template=None))


def test_a_job_exports_only_where_one_is_asked_for(tmp_path: Path) -> None:
    here = exporter_for(Settings(home=tmp_path, export_seconds=7.0))
    assert isinstance(here, partial)
    assert (here.func, here.args, here.keywords) == (export_model, (), {"limit": 7.0})
    jobs = exporter_for(Settings(home=tmp_path, export_template="mine", export_seconds=7.0))
    assert isinstance(jobs, ExportJobs)
    assert (jobs.template, jobs.home, jobs.limit) == ("mine", tmp_path, 7.0)


def test_the_job_and_what_it_runs_have_the_time_that_is_set(tmp_path: Path) -> None:
    given: list[float] = []

    def notes(order: Order, answered: Path) -> None:
        given.append(order.limit)
        makes(order, answered)

    cluster = Cluster(notes, [DONE])
    export(tmp_path, cluster, limit=7.0)
    assert given == [7.0]
    assert cluster.jobs[0]["spec"]["activeDeadlineSeconds"] == START_SECONDS + SCAN_SECONDS + 2 * 7.0 + 60.0


def test_where_integers_are_tried_a_job_may_take_twice_as_long(tmp_path: Path) -> None:
    either = {name: Settings(home=tmp_path, export_template="mine", precision=name) for name in ("f32", "auto", "int8")}
    jobs = {name: exporter_for(settings) for name, settings in either.items()}
    assert [one.steps for one in jobs.values() if isinstance(one, ExportJobs)] == [2, 4, 4]


def test_the_images_of_a_precision_lie_in_the_shared_folder_and_what_was_chosen_is_taken(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    files = [mine / f"{index}.jpg" for index in range(3)]
    for file in files:
        file.write_bytes(file.name.encode())
    judging = JudgingImage(name="x/2.jpg", path=files[2], size=(8, 8), boxes=((1.0, 1.0, 3.0, 3.0),), classes=(0,))
    order = PrecisionOrder(
        asked=Asked.AUTO,
        calibration=(files[0], files[1]),
        judging=(judging,),
        class_names=("streak",),
        margins=QualityMargins(),
    )
    seen: list[PrecisionOrder] = []
    choice = PrecisionChoice(taken=Precision.INT8, reason="It loses nothing.", gain=1.5)

    def chooses(order: Order, answered: Path) -> None:
        assert order.precision
        seen.append(order.precision)
        shared = (*order.precision.calibration, *(image.path for image in order.precision.judging))
        assert [file.read_bytes() for file in shared] == [b"0.jpg", b"1.jpg", b"2.jpg"]
        assert all(file.is_relative_to(answered.parent) and not file.is_symlink() for file in shared)
        makes(order, answered)
        answered.write_text(MADE.replace(precision=choice).model_dump_json())

    artifact, to = export(tmp_path, Cluster(chooses, [DONE]), precision=order)
    assert artifact.precision == choice
    assert json.loads((to / "version.json").read_text())["precision"] == "int8"
    assert seen[0].replace(calibration=order.calibration, judging=order.judging) == order
    assert seen[0].judging[0].name == "x/2.jpg"
