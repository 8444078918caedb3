"""seccomp: system calls that exporting a model never needs are refused to the process and all that it starts."""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Mapping

from banana_delivery.export.jail import kernel

_NEW_NAMESPACES = 0x7E02_0080
"""Flags of clone."""
_X32 = 0x4000_0000
"""Where x86-64's second set of numbers for the same calls begins."""
_ALLOW, _REFUSE, _KILL, _FILTER = 0x7FFF_0000, 0x0005_0000, 0x8000_0000, 2
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

NETWORK = {"socket": (41, 198), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426)}
"""Whatever leads to a connection: TCP, UDP, the engine's socket. By machine: x86-64, ARM."""
OTHERS = {
    # Other processes, and leaving the group that is killed in the end.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    # Other programs.
    "execve": (59, 221),
    "execveat": (322, 281),
    # The kernel and its namespaces.
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "reboot": (169, 142),
    "syslog": (103, 116),
    "acct": (163, 89),
}
_CLONE, _CLONE3 = (56, 220), (435, 435)
_MACHINES = {"x86_64": (0, 0xC000_003E), "aarch64": (1, 0xC000_00B7)}
"""Column of the tables above, and the kernel's word for the machine."""


def restrict(refused: Mapping[str, tuple[int, int]] = OTHERS) -> None:
    """Refuse the calls from now on, the network's among them unless others are named.

    Args:
        refused: numbers of calls, by their name.

    Raises:
        OSError: if the kernel does not do it, or the machine is another one.
    """
    if platform.machine() not in _MACHINES:
        raise OSError(errno.ENOSYS, f"no table of system calls for {platform.machine()}")
    program = _program(*_MACHINES[platform.machine()], refused)
    code = ctypes.create_string_buffer(program, len(program))
    fprog = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code)))
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(kernel.PR_SET_SECCOMP, _FILTER, ctypes.addressof(fprog))


def _program(column: int, machine: int, refused: Mapping[str, tuple[int, int]]) -> bytes:
    """The filter: pairs of a question and the answer that it leads to; what no question catches is allowed."""

    def step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    def refusal(number: int) -> bytes:
        return step(_RETURN, _REFUSE | number)

    steps = [step(_LOAD, 4), step(_EQUAL, machine, 1, 0), step(_RETURN, _KILL), step(_LOAD, 0)]
    if column == 0:
        steps += [step(_AT_LEAST, _X32, 0, 1), refusal(errno.ENOSYS)]
    # As on a machine without network, which every program can live with.
    for number, table in ((errno.EAFNOSUPPORT, NETWORK if refused is OTHERS else {}), (errno.EPERM, refused)):
        for numbers in table.values():
            steps += [step(_EQUAL, numbers[column], 0, 1), refusal(number)]
    # Its flags lie in memory, where no filter sees them; the C library falls back to clone.
    steps += [step(_EQUAL, _CLONE3[column], 0, 1), refusal(errno.ENOSYS)]
    steps += [step(_EQUAL, _CLONE[column], 0, 3), step(_LOAD, 16), step(_ANY_BIT, _NEW_NAMESPACES, 0, 1)]
    steps += [refusal(errno.EPERM), step(_RETURN, _ALLOW)]
    return b"".join(steps)
