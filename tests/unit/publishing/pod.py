"""The Job that writes into the registry, as a function call: what is made of it and what its program does are real."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from banana_delivery.delivery.signing import publisher
from banana_delivery.images.direct.store import DirectImages
from banana_delivery.publishing.jobs import PUBLISH, PublisherJobs
from banana_delivery.publishing.order import AT
from banana_delivery.settings import Settings
from banana_delivery.targets.kubernetes.jobs.templates import TemplateJobs
from tests import ROOT
from tests.support.clock import HandClock

Json = dict[str, Any]
TEMPLATE: Json = next(
    thing
    for thing in yaml.safe_load_all((ROOT / "k8s/base/dagster/publisher.yaml").read_text())
    if thing["kind"] == "PodTemplate"
)


def ended(code: int) -> Json:
    return {"containerStatuses": [{"name": PUBLISH.container, "state": {"terminated": {"exitCode": code}}}]}


@dataclass
class Pod:
    """An API server whose Jobs are done at once.

    Attributes:
        home: of the delivery.
        work: what the program does in its folder; returns the exit code.
        jobs: what was made.
        codes: how each ended.
        looks: what is said of every pod from now on, in place of that.
    """

    home: Path
    work: Callable[[Path], int]
    jobs: list[Json] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    looks: Json | None = None

    def get(self, path: str, **_: str) -> Json | None:
        if path.endswith(f"/podtemplates/{TEMPLATE['metadata']['name']}"):
            return TEMPLATE
        return {"items": [{"status": self.looks or ended(self.codes[-1])}]}

    def create(self, _: str, body: Json) -> Json:
        self.jobs.append(body)
        (mount,) = [one for one in container(body)["volumeMounts"] if one["mountPath"] == AT]
        self.codes.append(self.work(self.home / mount["subPath"]))
        return body

    @property
    def publisher(self) -> PublisherJobs:
        api: Any = self
        account = self.home.parent / "account"
        account.mkdir(exist_ok=True)
        (account / "namespace").write_text("here\n")
        jobs = TemplateJobs(PUBLISH, TEMPLATE["metadata"]["name"], api, account, HandClock())
        return PublisherJobs(jobs, self.home, self.home / "artifacts" / "detector")


def container(job: Json) -> Json:
    (found,) = job["spec"]["template"]["spec"]["containers"]
    return dict(found)


def program(store: Callable[[], DirectImages], settings: Settings, patch: Any) -> Callable[[Path], int]:
    """The Job's program, with a store and settings of its own."""
    patch.setattr(publisher, "direct_images", lambda _: store())
    patch.setattr(publisher, "load_settings", lambda: settings)
    return publisher.main
