"""A session of ONNX Runtime on CUDA, or the reason why there is none."""

import contextlib
import io

import onnxruntime as ort  # type: ignore[import-untyped]

from serving.inference.device.driver import trouble

CUDA = "CUDAExecutionProvider"
OPTIONS = {
    # TF32 keeps 10 bits of a factor. What is promised is f32, on every device.
    "use_tf32": "0",
    # The other search tries every algorithm for every frame that is new, and lets the fastest of that moment win: two
    # replicas would answer differently.
    "cudnn_conv_algo_search": "HEURISTIC",
    # Doubling what it took would take a shared GPU from others.
    "arena_extend_strategy": "kSameAsRequested",
}


class NoCudaError(Exception):
    """CUDA cannot be used here; the message is part of a sentence that says why."""


def is_built_in() -> bool:
    """Whether this ONNX Runtime is the build with CUDA."""
    return CUDA in ort.get_available_providers()


def open_session(onnx: bytes, options: ort.SessionOptions) -> ort.InferenceSession:
    """Loads the network into the first GPU.

    Raises:
        NoCudaError: if there is no driver or GPU, or ONNX Runtime left CUDA out.
        Exception: whatever ONNX Runtime raises: it has a dozen without a common base.
    """
    if why := trouble():
        raise NoCudaError(why)
    missing = _load_libraries()
    # Without `enable_fallback=0` it retries on the CPU whatever fails, now or in a run, and says so on standard output.
    session = ort.InferenceSession(onnx, options, providers=[(CUDA, OPTIONS)], enable_fallback=0)
    if CUDA not in session.get_providers():
        raise NoCudaError(f"ONNX Runtime left CUDA out without a word{f' ({missing})' if missing else ''}")
    return session


def _load_libraries() -> str:
    """Loads CUDA's libraries from their packages, where no linker looks; returns what was said of missing ones."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        ort.preload_dlls()
    return next((line for line in said.getvalue().splitlines() if line.startswith("Failed")), "")
