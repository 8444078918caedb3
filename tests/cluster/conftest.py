"""A real cluster that may be broken: KUBECONFIG and four more variables say where it is."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack

import dagster as dg
import pytest

from banana_delivery.policy.model import ImageRef
from banana_delivery.targets.kubernetes.target import KubernetesTarget
from tests.cluster.cluster import ROOT, Cluster, Routed
from tests.cluster.releases import HEALTHY, build_releases
from tests.cluster.world import ClusterWorld, open_cluster_world
from tests.integration.delivery.test_every_phase import GOOD

NEEDED = ("KUBECONFIG", "REGISTRY", "BASE_IMAGE", "GATEWAY_URL", "GATEWAY_METRICS_URL")
ALIKE = (
    "test_a_colour_that_is_ready_answers_at_once_and_only_with_its_digest",
    "test_the_verbs_granted_are_the_verbs_used",
    "test_the_way_back_takes_less_than_two_seconds",
    "test_three_kinds_of_users_notice_nothing_of_a_release_and_of_all_that_follows",
    "test_after_promotion_the_old_colour_takes_over_at_once_while_it_is_warm_and_after_a_start_when_not",
)
"""Half a minute each and more: with every change behind the Gateway, and without one among the long tests."""
MEASURED: list[str] = []
FAILED = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/cluster/dagster" in item.nodeid:
            item.add_marker(pytest.mark.dagster)
            item.add_marker(pytest.mark.timeout(1200))
        elif "tests/cluster" in item.nodeid:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(400))
            if item.name in {f"{name}[endpoints]" for name in ALIKE}:
                item.add_marker(pytest.mark.long)
    # The tests that share one pipeline come last: whatever else asks for an empty cluster takes its releases away.
    items.sort(key=lambda item: "tests/cluster" in item.nodeid and "here" in getattr(item, "fixturenames", ()))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure is told at once: who runs all of this may lose patience before the summary comes."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
        terminal = item.config.get_terminal_writer()
        terminal.line()
        terminal.line(f"{report.nodeid} failed in its {report.when} after {report.duration:.0f} s")
        terminal.line(report.longreprtext)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was measured belongs to the result, passed or not."""
    if MEASURED:
        terminalreporter.section("measured on the cluster")
        for line in MEASURED:
            terminalreporter.write_line(line)


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Lines for the summary."""
    lines: list[str] = []
    yield lines
    MEASURED.extend(f"{request.node.name}: {line}" for line in lines)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster of the environment, with its manifests applied."""
    missing = [name for name in NEEDED if name not in os.environ]
    if missing:
        raise pytest.UsageError(
            f"{', '.join(missing)} not set: start a cluster; docs/kubernetes.md says what they name."
        )
    found = Cluster()
    found.apply(found.manifests)
    yield found
    found.reset()
    # The Gateway's address is free again for whoever plays on this cluster next.
    found.kubectl("delete", "-k", str(ROOT / "k8s" / "base" / "gateway"))


@pytest.fixture(scope="session")
def releases(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ImageRef]:
    """Release images of the real serving application, by model version; `sick` can never become ready."""
    return build_releases(ROOT, tmp_path_factory.mktemp("releases"), os.environ["REGISTRY"], os.environ["BASE_IMAGE"])


@pytest.fixture
def empty(cluster: Cluster) -> Cluster:
    """Both environments as on the first day."""
    cluster.reset()
    return cluster


@pytest.fixture
def behind_gateway(empty: Cluster) -> KubernetesTarget:
    """Production behind the Gateway."""
    return empty.target("gateway")


@pytest.fixture(params=["gateway", "endpoints"])
def routed(request: pytest.FixtureRequest, empty: Cluster) -> Routed:
    """Production both ways: behind the Gateway, and behind a Service alone."""
    return Routed(empty, request.param)


class Worlds:
    """One pipeline for many tests, with a first release: each test leaves it fit for the next delivery.

    After one that failed, who knows: the next test gets another, so that a fault is not told a dozen times.
    """

    def __init__(self, cluster: Cluster, releases: dict[str, ImageRef], homes: pytest.TempPathFactory) -> None:
        self._cluster, self._homes = cluster, homes
        self._pushed = [releases[version] for version in HEALTHY]
        self._open = ExitStack()
        self._world: ClusterWorld | None = None

    def world(self) -> ClusterWorld:
        """The present one."""
        if self._world is None:
            self._cluster.reset()
            home = self._homes.mktemp("world") / "home"
            world = self._open.enter_context(open_cluster_world(home, self._cluster, self._pushed))
            first = world.pipeline.stage(GOOD)
            assert world.pipeline.run(first).status is dg.DagsterRunStatus.SUCCESS, world.pipeline.attempts(first)
            self._world = world
        return self._world

    def close(self) -> None:
        """The next test gets another one."""
        self._world = None
        self._open.close()


@pytest.fixture(scope="session")
def worlds(
    cluster: Cluster, releases: dict[str, ImageRef], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worlds]:
    """See ``Worlds``."""
    opened = Worlds(cluster, releases, tmp_path_factory)
    yield opened
    opened.close()


@pytest.fixture
def here(worlds: Worlds, request: pytest.FixtureRequest) -> Iterator[ClusterWorld]:
    """The pipeline that a test shares with others."""
    yield worlds.world()
    if request.node.stash.get(FAILED, False):
        worlds.close()
