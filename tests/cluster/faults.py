"""Breaking parts of the cluster for real; its scripts keep a pid file for each."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from banana_delivery.policy.model import Colour, Environment
from banana_delivery.targets.kubernetes.api import Json
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace
from tests.cluster.cluster import ROOT, Cluster, until

HOME = Path(os.environ.get("CLUSTER_HOME", Path.home() / ".local-cluster"))
COMMANDS = Path(os.environ.get("CLUSTER", "../shared/cluster"))


@contextmanager
def frozen(part: str, seconds: float) -> Iterator[None]:
    """A part does not answer for some seconds, counted from the beginning of the block."""
    pid = _pid(part)
    os.kill(pid, signal.SIGSTOP)
    thaw = threading.Timer(seconds, os.kill, (pid, signal.SIGCONT))
    thaw.start()
    try:
        yield
        thaw.join()
    finally:
        thaw.cancel()
        os.kill(pid, signal.SIGCONT)


def restart(part: str) -> None:
    """End a part and let the cluster's own script start it again."""
    pid = _pid(part)
    os.kill(pid, signal.SIGTERM)
    until(lambda: not Path(f"/proc/{pid}").exists(), f"the end of {part}")
    subprocess.run([COMMANDS / "up"], cwd=ROOT, check=True, capture_output=True, timeout=300)


def _pid(part: str) -> int:
    return int((HOME / "run" / f"{part}.pid").read_text().split()[0])


@contextmanager
def changed_template(
    cluster: Cluster, environment: Environment, colour: Colour, change: Callable[[Json], None]
) -> Iterator[None]:
    """A colour's replicas are made from a PodTemplate whose pod's spec somebody has changed."""
    path = EnvironmentNamespace(environment, str(environment)).template(colour)
    before = cluster.api.get(path)
    assert before is not None
    changed = copy.deepcopy(before)
    change(changed["template"]["spec"])
    cluster.api.replace(path, changed)
    try:
        yield
    finally:
        del before["metadata"]["resourceVersion"]
        cluster.api.replace(path, before)
