"""What a release leaves to the autoscaler when it is over, and what it never takes from it."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from banana_delivery.errors import ClaimOutdatedError, ConflictError, FencedError, TargetError
from banana_delivery.names import COLOUR_KEY, RECORD_KEY, REPLICAS_KEY
from banana_delivery.policy.model import COLOURS, Colour, Deployment, Environment, ImageRef, Phase, RolloutRecord
from banana_delivery.targets.base import Takeover
from banana_delivery.targets.kubernetes.gateway import GatewayRouting, user_rules
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace
from banana_delivery.targets.kubernetes.target import EnvironmentCluster, KubernetesTarget
from tests.support.claims import steal
from tests.support.cluster_objects import ClusterObjects

PRODUCTION, BLUE, GREEN = Environment.PRODUCTION, Colour.BLUE, Colour.GREEN
PLACE = EnvironmentNamespace(PRODUCTION, "production")
IMAGE = ImageRef(repository="r", digest="sha256:" + "1" * 64, version="1", key="k")
BASE, PEAK = 3, 7


class Cluster(ClusterObjects):
    """Production with blue at its peak: it was released with as many replicas as its predecessor had grown to."""

    def __init__(self) -> None:
        super().__init__({})
        deployments = {BLUE: Deployment(image=IMAGE, replicas=PEAK)}
        record = RolloutRecord(
            environment=PRODUCTION, active=BLUE, deployments=deployments, weights={BLUE: 100, GREEN: 0}
        )
        self.objects[PLACE.route("banana-api")] = {
            "metadata": {"annotations": {RECORD_KEY: record.model_dump_json()}},
            "spec": {"rules": user_rules({BLUE: 100, GREEN: 0}, "k", "t", 10, PLACE)},
        }
        self.objects[PLACE.service(PLACE.users_service)] = {"metadata": {}, "spec": {}}
        for colour in COLOURS[PRODUCTION]:
            pod = {
                "metadata": {"labels": {**PLACE.labels, COLOUR_KEY: str(colour)}},
                "spec": {"containers": [{"name": "api", "image": IMAGE.pinned}]},
            }
            self.objects[PLACE.template(colour)] = {
                "metadata": {"annotations": {REPLICAS_KEY: str(BASE)}},
                "template": pod,
            }
        self.objects[PLACE.deployment(BLUE)] = {
            "metadata": {"annotations": {REPLICAS_KEY: str(PEAK)}},
            "spec": {"replicas": PEAK, "template": pod, "strategy": {}},
            "status": {"readyReplicas": PEAK, "replicas": PEAK, "updatedReplicas": PEAK},
        }
        self.objects[PLACE.autoscaler(BLUE)] = {
            "metadata": {},
            "spec": {"minReplicas": PEAK, "maxReplicas": 9},
            "status": {"desiredReplicas": PEAK},
        }

    @property
    def blue(self) -> Any:
        return self.objects[PLACE.deployment(BLUE)]

    @property
    def autoscaler(self) -> Any:
        return self.objects[PLACE.autoscaler(BLUE)]

    def autoscale(self, replicas: int) -> None:
        """The autoscaler does what it wants, which it may not below its floor."""
        self.blue["spec"]["replicas"] = max(replicas, self.autoscaler["spec"]["minReplicas"])
        self.autoscaler["status"]["desiredReplicas"] = self.blue["spec"]["replicas"]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def target(cluster: Cluster) -> KubernetesTarget:
    routing = GatewayRouting(cluster, PLACE, 10.0)  # type: ignore[arg-type]
    return KubernetesTarget({PRODUCTION: EnvironmentCluster(cluster, PLACE, routing)})  # type: ignore[arg-type]


def test_a_release_at_the_peak_takes_no_replica_away_and_lets_the_autoscaler_go_down_afterwards(
    cluster: Cluster, target: KubernetesTarget
) -> None:
    target.release(target.claim(PRODUCTION, "run-1"))

    assert cluster.blue["spec"]["replicas"] == PEAK
    assert cluster.autoscaler["spec"]["minReplicas"] == BASE
    for load in (PEAK, 5, 1):
        cluster.autoscale(load)
        # Nobody's hand edit, whatever the autoscaler does.
        assert (
            target.observed(PRODUCTION).replicas[BLUE] == target.record(PRODUCTION).deployments[BLUE].replicas == BASE
        )
    assert target.default_replicas(PRODUCTION) == BASE, "the next release begins from rest"


def test_a_release_given_back_again_and_again_changes_nothing_more(cluster: Cluster, target: KubernetesTarget) -> None:
    target.release(target.claim(PRODUCTION, "run-1"))
    blue, autoscaler = dict(cluster.blue["spec"]), dict(cluster.autoscaler["spec"])

    target.release(target.claim(PRODUCTION, "run-2"))

    assert (cluster.blue["spec"], cluster.autoscaler["spec"]) == (blue, autoscaler)


def test_a_floor_that_was_left_high_when_a_process_died_half_way_comes_down_the_next_time(
    cluster: Cluster, target: KubernetesTarget
) -> None:
    target.release(target.claim(PRODUCTION, "run-1"))
    cluster.autoscaler["spec"]["minReplicas"] = PEAK

    target.release(target.claim(PRODUCTION, "run-2"))

    assert cluster.autoscaler["spec"]["minReplicas"] == BASE


def no_autoscaler(cluster: Cluster) -> None:
    del cluster.objects[PLACE.autoscaler(BLUE)]


def about_to_change(cluster: Cluster) -> None:
    cluster.autoscaler["status"]["desiredReplicas"] = PEAK + 1


@pytest.mark.parametrize("otherwise", [no_autoscaler, about_to_change])
def test_where_no_autoscaler_is_sure_of_the_number_everything_stays(
    otherwise: Any, cluster: Cluster, target: KubernetesTarget
) -> None:
    otherwise(cluster)

    target.release(target.claim(PRODUCTION, "run-1"))

    assert target.record(PRODUCTION).deployments[BLUE].replicas == PEAK
    assert target.observed(PRODUCTION).replicas[BLUE] == PEAK
    assert target.record(PRODUCTION).owner is None


def test_a_claim_that_was_taken_over_leaves_the_floor_to_the_new_owner(
    cluster: Cluster, target: KubernetesTarget
) -> None:
    stale = target.claim(PRODUCTION, "run-1")
    steal(target, PRODUCTION, "run-2")

    target.release(stale)

    assert cluster.autoscaler["spec"]["minReplicas"] == PEAK
    assert target.record(PRODUCTION).owner == "run-2"
    with pytest.raises(FencedError):
        target.heartbeat(stale)


def test_an_autoscaler_that_may_not_be_changed_does_not_keep_the_environment_from_being_given_back(
    cluster: Cluster, target: KubernetesTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = target.claim(PRODUCTION, "run-1")

    def refuse(*_: object) -> None:
        raise TargetError("Kubernetes refused PATCH (403).")

    monkeypatch.setattr(cluster, "patch", refuse)
    target.release(claim)

    assert target.record(PRODUCTION).owner is None


def test_a_drifted_environment_is_left_as_it_is(cluster: Cluster, target: KubernetesTarget) -> None:
    claim = target.claim(PRODUCTION, "run-1")
    target.write(claim, target.record(PRODUCTION).replace(phase=Phase.DRIFTED))

    target.release(claim)

    assert cluster.autoscaler["spec"]["minReplicas"] == PEAK


@pytest.mark.parametrize("way", ["deploy", "scale"])
def test_what_the_autoscaler_added_under_users_is_not_taken_from_them_by_asking_for_the_recorded_number(
    way: str, cluster: Cluster, target: KubernetesTarget
) -> None:
    target.release(target.claim(PRODUCTION, "run-1"))
    claim = target.claim(PRODUCTION, "run-2")

    if way == "deploy":
        target.deploy(claim, BLUE, IMAGE, BASE)
    else:
        target.scale(claim, BLUE, BASE)

    assert cluster.blue["spec"]["replicas"] == PEAK
    assert target.observed(PRODUCTION).replicas[BLUE] == BASE


def beat_before_the_next_write(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, beat: Callable[[], None]
) -> list[str]:
    """An owner shows life between somebody's read and write, once; returns where that struck."""
    replace, struck = cluster.replace, list[str]()

    def too_late(path: str, changed: Any) -> Any:
        if not struck:
            struck.append(path)
            beat()
            raise ConflictError("The object has been modified.")
        return replace(path, changed)

    monkeypatch.setattr(cluster, "replace", too_late)
    return struck


def test_a_sign_of_life_between_the_read_and_the_write_of_a_takeover_is_seen(
    cluster: Cluster, target: KubernetesTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API refuses the write of an older resourceVersion; what is read then is another record than was judged."""
    claim = target.claim(PRODUCTION, "run-1")
    seen = target.record(PRODUCTION)
    struck = beat_before_the_next_write(cluster, monkeypatch, lambda: target.heartbeat(claim))

    with pytest.raises(ClaimOutdatedError, match="run-1 has worked on it since"):
        target.claim(PRODUCTION, "reconcile", seen=seen, takeover=Takeover.SILENT)

    assert struck
    target.heartbeat(claim)


def test_a_takeover_on_purpose_goes_through_between_two_heartbeats(
    cluster: Cluster, target: KubernetesTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = target.claim(PRODUCTION, "run-1")
    seen = target.record(PRODUCTION)
    beat_before_the_next_write(cluster, monkeypatch, lambda: target.heartbeat(claim))

    taken = target.claim(PRODUCTION, "Ada", seen=seen, takeover=Takeover.ANYBODY)

    assert (target.record(PRODUCTION).owner, taken.generation) == ("Ada", claim.generation + 1)
    with pytest.raises(FencedError):
        target.heartbeat(claim)


def test_what_is_observed_asks_no_pod_and_no_record(cluster: Cluster, target: KubernetesTarget) -> None:
    cluster.objects[PLACE.route("banana-api")]["metadata"]["annotations"][RECORD_KEY] = "no record"
    cluster.blue["status"]["readyReplicas"] = 2

    observed = target.observed(PRODUCTION)

    assert (observed.ready, observed.route, observed.share(BLUE)) == ({BLUE: 2}, "", 1.0)
    del cluster.objects[PLACE.deployment(BLUE)]
    assert (target.observed(PRODUCTION).ready, target.observed(PRODUCTION).replicas) == ({}, {})


def test_a_route_that_was_deleted_is_observed(cluster: Cluster, target: KubernetesTarget) -> None:
    del cluster.objects[PLACE.route("banana-api")]

    observed = target.observed(PRODUCTION)

    assert "httproutes/banana-api does not exist" in observed.route
    assert (observed.weights, observed.share(BLUE), observed.ready) == ({}, 0.0, {BLUE: PEAK})


def test_a_colour_that_the_route_leads_users_to_is_not_scaled_down(cluster: Cluster, target: KubernetesTarget) -> None:
    claim = target.claim(PRODUCTION, "run-1")
    target.deploy(claim, GREEN, IMAGE, 2)
    cluster.objects[PLACE.route("banana-api")]["spec"]["rules"] = user_rules({BLUE: 15, GREEN: 85}, "k", "t", 10, PLACE)

    with pytest.raises(TargetError, match="Green carries 85 % of production's traffic"):
        target.scale(claim, GREEN, 0)

    assert cluster.objects[PLACE.deployment(GREEN)]["spec"]["replicas"] == 2
    cluster.objects[PLACE.route("banana-api")]["spec"]["rules"] = user_rules({BLUE: 100, GREEN: 0}, "k", "t", 10, PLACE)
    target.scale(claim, GREEN, 0)
    assert cluster.objects[PLACE.deployment(GREEN)]["spec"]["replicas"] == 0


def test_replicas_get_what_the_probe_proves_itself_by_with_their_release_and_keep_it_while_they_serve(
    cluster: Cluster, target: KubernetesTarget
) -> None:
    template = cluster.objects[PLACE.template(GREEN)]["template"] = copy.deepcopy(
        cluster.objects[PLACE.template(GREEN)]["template"]
    )
    template["spec"]["containers"][0]["env"] = [
        {"name": "PROBE_TOKEN", "value": "the same for ever"},
        {"name": "PORT", "value": "8000"},
    ]
    assert target.probe_token(PRODUCTION, GREEN) == "", "nothing was deployed"
    assert target.probe_token(PRODUCTION, BLUE) == "", "an earlier version of the pipeline made none"

    claim = target.claim(PRODUCTION, "run-1")
    target.deploy(claim, GREEN, IMAGE.replace(digest="sha256:" + "2" * 64), 2)
    token = target.probe_token(PRODUCTION, GREEN)
    target.deploy(claim, GREEN, IMAGE.replace(digest="sha256:" + "2" * 64), 3)

    assert re.fullmatch("[0-9a-f]{32}", token) and target.probe_token(PRODUCTION, GREEN) == token
    made = cluster.objects[PLACE.deployment(GREEN)]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert [one for one in made if one["name"] == "PROBE_TOKEN"] == [{"name": "PROBE_TOKEN", "value": token}]
    assert {"name": "PORT", "value": "8000"} in made
    target.deploy(claim, GREEN, IMAGE.replace(digest="sha256:" + "3" * 64), 2)
    assert target.probe_token(PRODUCTION, GREEN) not in {"", token}
