"""The product on the simulated machine: its clocks, threads, locks and disks are the machine's for as long as it runs.

Only what the modules of ``banana_delivery`` ask the system for is replaced, by name, in whichever of them asks; what
they do with it is theirs.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from banana_delivery import bundle, files
from banana_delivery.delivery import image_build
from banana_delivery.errors import BananaDeliveryError, FileLockedError
from banana_delivery.names import WORKER_TAG
from banana_delivery.policies.reading import NAMED
from banana_delivery.policy.quality import assessment
from banana_delivery.policy.rollout.plan import Plan
from banana_delivery.runs.lifecycle import Run, Runs
from tests.chaos.faults import DISK, Machine, disk_error
from tests.chaos.kernel import Event, SimulatedThread

PLAN = Plan(
    name="demo",
    ab_seconds=4,
    steps=(50, 100),
    step_seconds=3,
    watch_seconds=4,
    ab_minimum_seconds=1,
    step_minimum_seconds=1,
    watch_minimum_seconds=2,
    restart_seconds=2,
    minimum_sample=15,
    probe_limit=30,
)
"""The rules of every plan in as few looks as they need."""


class Current:
    """Which machine the product runs on now."""

    machine: Machine

    held: dict[str, int]
    """Locks, by file, to the process that has each."""


class _Time:
    """The module ``time``."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time(self) -> float:
        return Current.machine.kernel.wall()

    def monotonic(self) -> float:
        return Current.machine.kernel.now

    perf_counter = monotonic

    def sleep(self, seconds: float) -> None:
        Current.machine.kernel.sleep(seconds)


class _Threading:
    """The module ``threading``."""

    def __getattr__(self, name: str) -> Any:
        return getattr(threading, name)

    def Event(self) -> Event:  # noqa: N802 - its name there
        return Event(Current.machine.kernel)

    def Thread(self, **options: Any) -> SimulatedThread:  # noqa: N802 - its name there
        return SimulatedThread(Current.machine.kernel, **options)


@contextmanager
def _lock(
    path: Path,
    seconds: float,
    what: str,
    *,
    error: type[BananaDeliveryError] = FileLockedError,
    pause: float = 0.05,
    end_stopped: bool = False,
) -> Iterator[None]:
    """``files.lock``: held by a process, and free once that is dead."""
    machine, key = Current.machine, str(path)
    kernel = machine.kernel
    with machine.call(DISK, f"lock {path.name}", disk_error, changes=False):
        end = kernel.now + seconds
        while key in Current.held and kernel.now <= end:
            kernel.sleep(max(pause, 0.2))
            if end_stopped and key in Current.held and kernel.now > end - seconds + files.STOPPED_SECONDS:
                _end_if_stopped(Current.held[key])
        if key in Current.held:
            raise error(f"{what} is being changed for over {seconds:g} s; wait until that is done.")
        Current.held[key] = kernel.process.pid if kernel.process else 0
    try:
        yield
    finally:
        del Current.held[key]


def _end_if_stopped(pid: int) -> None:
    """A holder that does nothing for now is ended; what it held is free once it has gone."""
    kernel = Current.machine.kernel
    if pid and kernel.processes[pid - 1].frozen_until > kernel.now:
        kernel.kill(kernel.processes[pid - 1])


def _sync(file: Any) -> None:
    with Current.machine.call(DISK, f"sync {Path(file.name).name}", disk_error):
        file.flush()


def _write_atomically(path: Path, text: str) -> None:
    with Current.machine.call(DISK, f"write {path.name}", disk_error):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _sign_in(runs: Runs, run_id: str) -> None:
    process = Current.machine.kernel.process
    worker = f"{run_id}:simulated:{process.pid if process else 0}:0"
    runs.instance.add_run_tags(run_id, {WORKER_TAG: worker, **runs.location.tags})


def _is_dead(runs: Runs, run: Run) -> bool:
    signed = run.tags.get(WORKER_TAG)
    if not signed:
        return False
    run_id, _, pid, _ = signed.split(":")
    return run_id == run.run_id and not Current.machine.kernel.processes[int(pid) - 1].alive


def _no_page(*facts: object, **options: object) -> str:
    return ""


def _replacements() -> dict[int, object]:
    """What stands for what, by the identity of the real thing."""
    return {
        id(time): _Time(),
        id(threading): _Threading(),
        id(files.lock): _lock,
        id(files.sync): _sync,
        id(files.write_atomically): _write_atomically,
        id(assessment.assess_quality): _remembered(assessment.assess_quality),
    }


def _remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """A pure function of values that are few and never change, computed once for each."""
    known: dict[object, Any] = {}

    @functools.wraps(function)
    def remember(*values: Any, **options: Any) -> Any:
        key = (*map(id, values), *sorted(options.items()))
        if key not in known:
            known[key] = function(*values, **options), values
        return known[key][0]

    return remember


@contextmanager
def simulated_system(code: Path) -> Iterator[None]:
    """Within the block, the product runs on ``Current.machine``.

    Args:
        code: an empty folder: the images of the simulation hold little code.
    """
    (code / "__init__.py").write_text("")
    (code / "lock.txt").write_text("")
    replacements = _replacements()
    with ExitStack() as undo:
        for module in [one for name, one in sys.modules.items() if name.startswith("banana_delivery.")]:
            for name, value in list(vars(module).items()):
                if id(value) in replacements and module is not files:
                    undo.enter_context(mock.patch.object(module, name, replacements[id(value)]))
        undo.enter_context(mock.patch.object(Runs, "sign_in", _sign_in))
        undo.enter_context(mock.patch.object(Runs, "is_dead", _is_dead))
        undo.enter_context(mock.patch("banana_delivery.reports.html.html_report", _no_page))
        undo.enter_context(mock.patch.dict(NAMED, {PLAN.name: NAMED[PLAN.name].replace(plan=PLAN)}))
        undo.enter_context(mock.patch.object(image_build, "SERVING_CODE", code))
        undo.enter_context(mock.patch.object(bundle, "SERVING_LOCK", code / "lock.txt"))
        undo.enter_context(mock.patch.object(image_build, "git_revision", lambda length=12: "simulated"))
        yield
