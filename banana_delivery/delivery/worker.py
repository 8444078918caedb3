"""Whether the process of a run lives.

Dagster's default launcher does not notice that a run's process was killed: the run stays STARTED and keeps its slot.
So a run signs in with its process, and the reconcile sensor looks whether that process is still there. The Kubernetes
launcher watches the pods of its runs by itself.
"""

from __future__ import annotations

import socket

import dagster as dg
import psutil

WORKER_TAG = "banana/worker"


def sign_in(instance: dg.DagsterInstance, run_id: str) -> None:
    """Write down which process works on a run; every asset calls it first."""
    instance.add_run_tags(run_id, {WORKER_TAG: identity(run_id, psutil.Process())})


def is_dead(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the process that signed in is gone. A process on another host cannot be seen and counts as alive.

    Where the launcher watches its runs, it is asked by Dagster and not by us: pods may share their node's name, but
    not its process ids.

    A re-execution inherits the tags of the run before it; until it has signed in itself it counts as alive.
    """
    signed = run.tags.get(WORKER_TAG)
    if not signed or instance.run_launcher.supports_check_run_worker_health:
        return False
    run_id, host, pid, _ = signed.split(":")
    if (run_id, host) != (run.run_id, socket.gethostname()):
        return False
    try:
        process = psutil.Process(int(pid))
        return identity(run_id, process) != signed or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def identity(run_id: str, process: psutil.Process) -> str:
    """Run, host, pid and start time; the last one because pids are used again."""
    return f"{run_id}:{socket.gethostname()}:{process.pid}:{process.create_time():.0f}"
