"""What the NVIDIA driver of this machine says, asked directly: ONNX Runtime only says that something is missing."""

import ctypes

NO_DEVICE = 100
"""CUDA_ERROR_NO_DEVICE of cuInit."""
LIBRARY = "libcuda.so.1"
"""Comes with the driver, never with a package; the container runtime mounts it."""


def trouble(library: str = LIBRARY) -> str:
    """Why nothing can be computed on a GPU here, as part of a sentence; empty if the driver sees one."""
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return f"no NVIDIA driver is here ({library} cannot be loaded)"
    status = driver.cuInit(0)
    if status == NO_DEVICE:
        return "the NVIDIA driver sees no GPU"
    if status:
        return f"the NVIDIA driver does not start (CUDA error {status})"
    count = ctypes.c_int()
    status = driver.cuDeviceGetCount(ctypes.byref(count))
    return "" if status == 0 and count.value else "the NVIDIA driver sees no GPU"
