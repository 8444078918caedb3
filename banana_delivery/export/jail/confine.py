"""All that this machine has to confine a process, used at once; what it has not is said."""

from __future__ import annotations

import math
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from banana_delivery.bundle import PACKAGE, SERVING_CODE
from banana_delivery.export.jail import kernel, landlock, namespaces, seccomp
from banana_delivery.files import read_plain

MAX_MEMORY = 8 * 1024**3
"""Bytes of private memory; exporting a detector of any usual size needs less than 3 GiB."""
MAX_FILE = 4 * 1024**3
MAX_OPEN_FILES = 512
MAX_PROCESSES = 256
"""Threads count too. Held where the process has a user namespace of its own: elsewhere the whole user's are counted."""
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime", "/etc/passwd", "/etc/group")
_SYSTEM_FACTS = ("/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/fs/cgroup")
_OWN_FACTS = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/filesystems", "/proc/sys/vm")
_MOST_OF_A_MARK = 8192
"""Bytes of a file `.git`, which holds one path; Linux has none that is longer than half of it."""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random", "/dev/full")


def confine(scratch: Path, readable: Iterable[Path], seconds: float) -> tuple[str, ...]:
    """Confine this process, which must have one thread; it returns in a process below this one.

    Always held: bounds of memory, file size, open files and time, no privileges, and the end of all that it started.

    Args:
        scratch: the only folder that it may write into.
        readable: files that it may read beside its own programs.
        seconds: until it ends itself, should its parent have been killed.

    Returns:
        What the machine does not have, as words for a list; empty if everything is held.

    Raises:
        OSError: if not even the least can be done.
    """
    _limit(seconds)
    missing: list[str] = []
    own_processes = False

    def see_own_processes() -> None:
        nonlocal own_processes
        own_processes = in_namespaces and not _missing(namespaces.own_process_table)

    in_namespaces = not _missing(namespaces.enter)
    if in_namespaces:
        resource.setrlimit(resource.RLIMIT_NPROC, (MAX_PROCESSES, MAX_PROCESSES))
    else:
        missing.append("namespaces of its own")
    namespaces.continue_below(see_own_processes)
    signal.alarm(math.ceil(seconds) + 1)
    allowed = [*rules(scratch, readable), *_facts(own_processes=own_processes)]
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.drop_capabilities()
    if _missing(lambda: landlock.restrict(allowed)):
        missing.append("a view of the disk of its own (Landlock)")
    if _missing(seccomp.restrict):
        missing.append("a filter of system calls (seccomp)")
    return tuple(missing)


def _limit(seconds: float) -> None:
    for kind, most in (
        (resource.RLIMIT_DATA, MAX_MEMORY),
        (resource.RLIMIT_FSIZE, MAX_FILE),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bound, bound))
    # The parent kills it in time, unless the parent itself was killed.
    signal.alarm(math.ceil(seconds) + 1)


def _missing(means: Callable[[], object]) -> bool:
    """Whether the machine does not have this means."""
    try:
        means()
    except OSError:
        return True
    return False


def rules(scratch: Path, readable: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    """What may be opened, and for what, by Landlock's rights: beside the rest of the system nothing of this machine."""
    yield scratch, landlock.WRITE
    yield from ((file, landlock.READ) for file in readable)
    yield from ((Path(name), landlock.READ) for name in (*_SYSTEM, *_SYSTEM_FACTS))
    yield from ((Path(name), landlock.WRITE) for name in _DEVICES)
    installed = {Path(prefix) for prefix in (sys.prefix, sys.base_prefix)}
    yield from ((prefix, landlock.READ) for prefix in installed)
    # Where it lies in truth, as ultralytics looks: worktrees may share one by a link.
    yield from ((file, landlock.READ) for file in _links_of_a_worktree(Path(sys.prefix).resolve()))
    # Of this product the modules alone: an editable installation is found without a folder in the path.
    yield from ((folder, landlock.READ) for folder in (PACKAGE, SERVING_CODE))
    for entry in map(Path, sys.path):
        if entry.is_dir() and not any(entry.is_relative_to(prefix) for prefix in installed):
            yield from _modules(entry)


def _links_of_a_worktree(inside: Path) -> Iterator[Path]:
    """Where `.git` is a file, as in a worktree or a submodule, it and what it leads to: paths, and nothing else.

    ultralytics reads them when it is imported, if it is installed below. A link in their place may lead to a secret.
    """
    mark = next((folder / ".git" for folder in inside.parents if (folder / ".git").exists()), None)
    if mark is None or mark.is_dir():
        return
    try:
        said = read_plain(mark, _MOST_OF_A_MARK).decode(errors="ignore")
        common = mark.parent / said.partition("gitdir:")[2].strip() / "commondir"
        plain = common.is_file() and not common.is_symlink()
    except OSError:  # It is no such file, or leads to what has no name: ultralytics cannot follow it, either.
        return
    yield mark
    if plain:
        yield common


def _modules(folder: Path) -> Iterator[tuple[Path, int]]:
    """The modules in a folder that Python looks into, and nothing else: it may be a checkout with secrets in it."""
    yield folder, landlock.LIST
    for entry in folder.iterdir():
        if (entry / "__init__.py").is_file() or entry.suffix in {".py", ".so"}:
            yield entry.resolve(), landlock.READ


def _facts(*, own_processes: bool) -> Iterator[tuple[Path, int]]:
    """What programs ask of the kernel. The whole of ``/proc`` only if it shows nobody else's processes."""
    names = ("/proc",) if own_processes else (*_OWN_FACTS, f"/proc/{Path('/proc/self').readlink()}")
    return ((Path(name), landlock.READ) for name in names)
