"""Namespaces: a network without a way out, a table of processes of one's own, and a user without rights elsewhere."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from banana_delivery.export.jail import kernel

NOBODY = 65534
_ALL = (
    kernel.CLONE_NEWUSER
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWNS
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUTS
)
_BY_SIGNAL = 128
"""Added to the number of the signal that ended the worker, as shells do."""


def enter() -> None:
    """Leave the namespaces that we share with everybody; processes that are started from now on are in the new ones.

    Raises:
        OSError: if the kernel does not let us, as in most containers. Nothing is changed then.
    """
    user, group = os.geteuid(), os.getegid()
    kernel.unshare(_ALL)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{NOBODY} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{NOBODY} {group} 1")


def own_process_table() -> None:
    """Let ``/proc`` show our own namespace.

    Raises:
        OSError: if the kernel does not let us: in a container that hides parts of its own ``/proc``.
    """
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)


def continue_below(before: Callable[[], object]) -> None:
    """Go on in a grandchild; when that ends, everything that it started ends, and this process with the same code.

    In a namespace of processes the child is its first process, whose end the kernel lets nobody survive. Elsewhere
    this process adopts whoever lost its parent, and ends it.

    Args:
        before: done in the child, which still has every right.
    """
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    if child := os.fork():
        _follow(child)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    before()
    if grandchild := os.fork():
        _follow(grandchild)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)


def _follow(child: int) -> NoReturn:
    """Wait for a child, end what it left, and end as it ended."""
    ended = 0
    while ended != child:
        ended, status = os.wait()
    code = os.waitstatus_to_exitcode(status)
    if os.getpid() == 1:
        # No signal of its own can end a namespace's first process; its end takes all others with it.
        os._exit(_BY_SIGNAL - code if code < 0 else code)
    _end_the_rest()
    if deadly := max(-code, code - _BY_SIGNAL, 0):
        with suppress(OSError):
            signal.signal(deadly, signal.SIG_DFL)
        os.kill(os.getpid(), deadly)
    os._exit(code % 256)


def _end_the_rest() -> None:
    """End whoever was adopted, and whom they leave, until there is nobody."""
    children = Path("/proc/thread-self/children")
    while left := _numbers(children):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.wait()


def _numbers(file: Path) -> list[int]:
    try:
        return [int(number) for number in file.read_text().split()]
    except OSError:
        return []
