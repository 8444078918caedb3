"""Jobs that are made from a PodTemplate and share one folder with the delivery.

The folder is one of the home's volume, mounted by its ``subPath``: nothing else of the home is seen there. A Job is not
ended when its delivery is, since whoever may end one may end them all: it has a deadline.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from banana_delivery.errors import BananaDeliveryError, TargetError
from banana_delivery.targets.kubernetes.api import Json, KubernetesApi
from banana_delivery.waiting import SYSTEM_CLOCK, Clock, Deadline

START_SECONDS = 1200.0
"""It may wait so long for a node with room and for the image, as a delivery itself may."""
LOOK_SECONDS = 1.0
GONE_SECONDS = 30.0
"""After so long without a pod somebody has ended the Job."""
KEPT_SECONDS = 3600
"""How long its log can be read."""
VOLUME = "home"
"""As the PodTemplates call the volume that a delivery has, too."""
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True)
class JobKind:
    """What some Jobs are for.

    Attributes:
        does: what one does, as in "the Job that exports".
        container: the container of the PodTemplate whose program does it.
        setting: names the PodTemplate.
        failure: what is raised where one could not do it.
        more_time: how a person gives it more time, after a comma; empty: he cannot.
    """

    does: str
    container: str
    setting: str
    failure: type[BananaDeliveryError]
    more_time: str = ""


@dataclass(frozen=True)
class TemplateJobs:
    """Jobs of one kind.

    Attributes:
        kind: what they are for.
        template: PodTemplate from which they are made.
        api: the cluster we run in.
        account: where Kubernetes says in which namespace of it.
        clock: tells how long one takes.
    """

    kind: JobKind
    template: str
    api: KubernetesApi = field(default_factory=KubernetesApi)
    account: Path = ACCOUNT
    clock: Clock = SYSTEM_CLOCK

    @property
    def namespace(self) -> str:
        """The delivery's own.

        Raises:
            BananaDeliveryError: of the kind's failures, if it runs in no cluster.
        """
        try:
            return (self.account / "namespace").read_text().strip()
        except OSError as error:
            raise self.kind.failure(
                f"{self.kind.setting} is for deliveries that run in a cluster; for this one set it to nothing."
            ) from error

    def run(
        self,
        work: Callable[[Json], Json],
        seconds: float,
        progress: Callable[[str], object],
        start_seconds: float = START_SECONDS,
    ) -> int:
        """Have one do its work; returns its program's exit code, minus the signal where one ended it.

        Args:
            work: adds to a copy of the PodTemplate's pod what this Job is to do.
            seconds: what the work may take once its pod runs.
            progress: told the Job's name.
            start_seconds: what it may take until its pod runs.

        Raises:
            BananaDeliveryError: of the kind's failures, if there is no such code.
        """
        try:
            name = self._create(work, start_seconds + seconds)
            progress(f"Job {name} {self.kind.does}")
            return self._code(name, start_seconds, seconds)
        except TargetError as error:
            raise self.kind.failure(f"The Job that {self.kind.does} could not be made or looked at: {error}") from error

    def _create(self, work: Callable[[Json], Json], seconds: float) -> str:
        found = self.api.get(f"/api/v1/namespaces/{self.namespace}/podtemplates/{self.template}")
        if found is None:
            raise self.kind.failure(
                f"There is no PodTemplate {self.template} in namespace {self.namespace}, from which the Job that "
                f"{self.kind.does} is made: apply k8s/base/dagster, or set {self.kind.setting} to nothing."
            )
        name = f"banana-{self.kind.container}-{uuid4().hex[:10]}"
        body = job_of(work(copy.deepcopy(found["template"])), name, seconds)
        self.api.create(f"/apis/batch/v1/namespaces/{self.namespace}/jobs", body)
        return name

    def _code(self, name: str, start_seconds: float, seconds: float) -> int:
        seen, waiting, working = Deadline(GONE_SECONDS, self.clock), Deadline(start_seconds, self.clock), None
        while True:
            pod = self._pod(name)
            if pod is None and seen.passed:
                raise self.kind.failure(
                    f"The Job that {self.kind.does} was ended by somebody, or its pod's node is gone: try again."
                )
            if pod is not None:
                seen = Deadline(GONE_SECONDS, self.clock)
                if (code := self._ended(pod)) is not None:
                    return code
                if working is None and pod.get("status", {}).get("phase") == "Running":
                    working = Deadline(seconds, self.clock)
            if (working or waiting).passed:
                raise self.kind.failure(self._late(pod, start_seconds, seconds if working else None))
            self.clock.sleep(LOOK_SECONDS)

    def _pod(self, name: str) -> Json | None:
        found = self.api.get(f"/api/v1/namespaces/{self.namespace}/pods", labelSelector=f"job-name={name}")
        pods: list[Json] = (found or {"items": []})["items"]
        return pods[0] if pods else None

    def _ended(self, pod: Json) -> int | None:
        """The exit code of a pod's program as a shell says it, minus the signal where one ended it; None: it goes on.

        Raises:
            BananaDeliveryError: if the pod ended otherwise: its node is gone, it was evicted.
        """
        status = pod.get("status", {})
        for one in status.get("containerStatuses", []):
            if one["name"] == self.kind.container and (end := one.get("state", {}).get("terminated")):
                code = int(end.get("exitCode", 1))
                return 128 - code if code > 128 else code
        if status.get("phase") == "Failed":
            why = status.get("message") or status.get("reason") or "no reason given"
            raise self.kind.failure(f"The pod that {self.kind.does} was ended ({why}): try again.")
        return None

    def _late(self, pod: Json | None, start_seconds: float, seconds: float | None) -> str:
        if seconds:
            return (
                f"The Job that {self.kind.does} did not end within {seconds:.0f} s: try again when its node is less "
                f"busy{self.kind.more_time}."
            )
        return (
            f"The pod that {self.kind.does} did not start within {start_seconds:.0f} s ({_why(pod)}): give it room, "
            "or what it lacks, and try again."
        )


def _why(pod: Json | None) -> str:
    """Why a pod does not start: what a container waits for, a Secret for example, or else what the pod does."""
    status = (pod or {}).get("status", {})
    containers = [one.get("state", {}).get("waiting") or {} for one in status.get("containerStatuses", [])]
    told: Iterable[Json] = [*containers, *status.get("conditions", [])]
    return next((str(one["message"]) for one in told if one.get("message")), "no reason given")


def container_in(pod: Json, kind: JobKind) -> Json:
    """The container of a pod whose program does the work."""
    found: Json = next(one for one in pod["spec"]["containers"] if one["name"] == kind.container)
    return found


def see(container: Json, folder: Path, home: Path, at: str) -> None:
    """Let a container see one folder of the home, and nothing else of it.

    Args:
        container: of the pod.
        folder: below the home.
        home: where the volume is mounted here.
        at: where the container sees it.
    """
    mount = {"name": VOLUME, "mountPath": at, "subPath": str(folder.relative_to(home))}
    container["volumeMounts"] = [*container.get("volumeMounts", []), mount]


def job_of(pod: Json, name: str, seconds: float) -> Json:
    """The Job of a pod.

    Args:
        pod: metadata and spec.
        name: the Job's.
        seconds: after which it is ended.
    """
    pod["spec"] |= {"restartPolicy": "Never"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": pod.get("metadata", {}).get("labels", {})},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": int(seconds),
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": pod,
        },
    }
