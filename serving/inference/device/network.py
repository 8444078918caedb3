"""The network on the device that is there: a session on the CPU, and one on the GPU where that works."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import onnxruntime as ort  # type: ignore[import-untyped]

from serving.inference.device.agreement import Difference
from serving.inference.device.cuda import NoCudaError, is_built_in, open_session
from serving.inference.postprocess import Floats
from serving.inference.preprocess import Planes

logger = logging.getLogger("serving")

LONGEST_REASON = 200
"""Characters of ONNX Runtime's own words, which go on with the file and line of its source."""


@dataclass(frozen=True, slots=True)
class Device:
    """What the network runs on.

    Attributes:
        name: as `/version` and the metrics have it.
        reason: why, in one sentence.
        fell_back: whether this build could have used a GPU.
    """

    name: Literal["cuda", "cpu"]
    reason: str
    fell_back: bool = False


class Network:
    """Answers of the network, by any thread.

    Attributes:
        device: what it runs on now.
        on_loss: told once, in one sentence, when the GPU fails; as long as it is not set, the CPU silently takes over.
    """

    def __init__(self, onnx: bytes, threads: int) -> None:
        """Loads the network on the CPU, where it stays: a GPU is compared with it, and it is what is left of one."""
        self._cpu = ort.InferenceSession(onnx, _options(threads), providers=["CPUExecutionProvider"])
        self._cuda: ort.InferenceSession | None = None
        self._broken: ort.InferenceSession | None = None
        self._lock = threading.Lock()
        [given] = self._cpu.get_inputs()
        self._input = given.name
        self.device = Device("cpu", "This ONNX Runtime is built without CUDA.")
        self.on_loss: Callable[[str], None] | None = None

    def try_cuda(self, onnx: bytes, sample: Planes, compare: Callable[[Floats, Floats], Difference]) -> None:
        """Moves to the GPU if there is one that works and answers as the CPU does; `device` says what came of it.

        Args:
            onnx: contents of the ONNX file.
            sample: what both are asked.
            compare: how far the CPU's answer and the GPU's are apart.
        """
        if not is_built_in():
            return
        try:
            session = open_session(onnx, _options(1))
            difference = compare(self._on(self._cpu, sample), self._on(session, sample))
        except MemoryError:
            raise
        except NoCudaError as error:
            self._fall_back(str(error))
        except Exception as error:  # noqa: BLE001 - ONNX Runtime has a dozen without a common base, and all mean this
            self._fall_back(f"CUDA does not work here: {_said(error)}")
        else:
            self._take(session, difference)

    def _take(self, session: ort.InferenceSession, difference: Difference) -> None:
        if difference.is_small:
            self._cuda = session
            self.device = Device("cuda", f"CUDA answers a sample picture as the CPU does, within {difference}.")
        else:
            self._fall_back(f"CUDA answers a sample picture differently, by {difference}")

    def run(self, planes: Planes) -> Floats:
        """The network's raw answer. What fails on the GPU is answered by the CPU, and the GPU is not asked again."""
        cuda = self._cuda
        if cuda is None:
            return self._on(self._cpu, planes)
        try:
            return self._on(cuda, planes)
        except Exception as error:  # noqa: BLE001 - as above
            # It raises what was wrong with the input itself.
            answer = self._on(self._cpu, planes)
            self._lose(cuda, f"the GPU failed: {_said(error)}")
            return answer

    def _lose(self, cuda: ort.InferenceSession, why: str) -> None:
        with self._lock:
            if self._cuda is None:
                return
            self._cuda = None
        self._fall_back(why)
        if self.on_loss is not None:
            # What it holds is gone, and giving it back can hang; the process will end soon.
            self._broken = cuda
            self.on_loss(self.device.reason)

    def _fall_back(self, why: str) -> None:
        self.device = Device("cpu", f"The network runs on the CPU, because {why}.", fell_back=True)

    def _on(self, session: ort.InferenceSession, planes: Planes) -> Floats:
        answer: Floats = session.run(None, {self._input: planes[None]})[0]
        return answer


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Helpers that wait busily take the cores of other requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _said(error: Exception) -> str:
    """What ONNX Runtime says, on one line of bearable length."""
    return " ".join(str(error).split())[:LONGEST_REASON].rstrip(".")
