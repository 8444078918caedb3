"""The driver's own calls, for what a test does to a GPU: everything in a process of its own, which ends with it.

python -m tests.gpu.driver hold      takes all memory that is free, says `held`, and keeps it until its input ends
python -m tests.gpu.driver serve     serves, and upon SIGUSR1 breaks its own context as a fault of the GPU does
"""

import ctypes
import signal
import sys
from types import FrameType
from typing import Any

from serving.__main__ import main

SMALLEST = 2 * 1024 * 1024
"""Bytes; what is allocated comes in pieces of this size."""
TRAP = b"""
.version 7.0
.target sm_75
.address_size 64
.visible .entry die() { trap; }
\0"""
"""A kernel that fails; whatever is asked of its context afterwards fails as well, for good."""


def driver() -> ctypes.CDLL:
    """The driver, with the context that CUDA's libraries use current in this thread."""
    cuda = ctypes.CDLL("libcuda.so.1")
    context = ctypes.c_void_p()
    check(cuda.cuInit(0))
    check(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
    check(cuda.cuCtxSetCurrent(context))
    return cuda


def check(status: int) -> None:
    assert status == 0, f"CUDA error {status}"


def hold() -> None:
    """Takes piece after piece, smaller ones where a larger one does not fit."""
    cuda, size, held = driver(), 1 << 36, ctypes.c_void_p()
    while size >= SMALLEST:
        if cuda.cuMemAlloc_v2(ctypes.byref(held), ctypes.c_size_t(size)):
            size //= 2
    sys.stdout.write("held\n")
    sys.stdout.flush()
    sys.stdin.read()


def break_context(*_: int | FrameType | None) -> None:
    """Runs the kernel that fails."""
    cuda = driver()
    module, kernel, none = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    check(cuda.cuModuleLoadData(ctypes.byref(module), TRAP))
    check(cuda.cuModuleGetFunction(ctypes.byref(kernel), module, b"die"))
    one, nothing = ctypes.c_uint(1), ctypes.c_uint(0)
    shape: list[Any] = [one] * 6
    check(cuda.cuLaunchKernel(kernel, *shape, nothing, none, none, none))
    assert cuda.cuCtxSynchronize(), "the kernel did not fail"


if __name__ == "__main__":
    if sys.argv[1] == "hold":
        hold()
    else:
        signal.signal(signal.SIGUSR1, break_context)
        sys.exit(main())
