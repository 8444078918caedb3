"""The network on the device that is there: on the CPU, and on the GPU where that works."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import onnxruntime as ort  # type: ignore[import-untyped]

from serving.inference.device.agreement import Difference
from serving.inference.device.cuda import NoCudaError, is_built_in, open_session
from serving.inference.device.frames import GpuFrames, said
from serving.inference.postprocess import Floats
from serving.inference.preprocess import Planes


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
        self._gpu: GpuFrames | None = None
        self._broken: GpuFrames | None = None
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
        gpu = GpuFrames(lambda: open_session(onnx, _options(1)), self._on_cpu, compare, self._input)
        try:
            difference = gpu.begin(sample)
        except MemoryError:
            raise
        except NoCudaError as error:
            self._fall_back(str(error))
        except Exception as error:  # noqa: BLE001 - ONNX Runtime has a dozen without a common base, and all mean this
            self._fall_back(f"CUDA does not work here: {said(error)}")
        else:
            self._take(gpu, difference)
        if self._gpu is None:
            gpu.close()

    @property
    def is_preparing(self) -> bool:
        """Whether images of some size are still answered by the CPU until the GPU is ready for them."""
        return self._gpu is not None and self._gpu.is_preparing

    def run(self, planes: Planes) -> Floats:
        """The network's raw answer. What fails on the GPU is answered by the CPU, and the GPU is not asked again."""
        gpu = self._gpu
        if gpu is None:
            return self._on_cpu(planes)
        try:
            answer = gpu.run(planes)
        except Exception as error:  # noqa: BLE001 - as above
            # It raises what was wrong with the input itself.
            answer = self._on_cpu(planes)
            self._lose(gpu, f"the GPU failed: {said(error)}")
            return answer
        return self._on_cpu(planes) if answer is None else answer

    def close(self) -> None:
        """Nothing is asked any more."""
        if self._gpu is not None:
            self._gpu.close()

    def _take(self, gpu: GpuFrames, difference: Difference) -> None:
        if difference.is_small:
            self._gpu = gpu
            self.device = Device("cuda", f"CUDA answers a sample picture as the CPU does, within {difference}.")
        else:
            self._fall_back(f"CUDA answers a sample picture differently, by {difference}")

    def _lose(self, gpu: GpuFrames, why: str) -> None:
        with self._lock:
            if self._gpu is None:
                return
            self._gpu = None
        gpu.close()
        self._fall_back(why)
        if self.on_loss is not None:
            # What it holds is gone, and giving it back can hang; the process will end soon.
            self._broken = gpu
            self.on_loss(self.device.reason)

    def _fall_back(self, why: str) -> None:
        self.device = Device("cpu", f"The network runs on the CPU, because {why}.", fell_back=True)

    def _on_cpu(self, planes: Planes) -> Floats:
        answer: Floats = self._cpu.run(None, {self._input: planes[None]})[0]
        return answer


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Helpers that wait busily take the cores of other requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
