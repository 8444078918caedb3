"""The network: an exported ONNX detector in OpenVINO on the CPU."""

from typing import Literal, Protocol

import numpy as np
import openvino as ov  # type: ignore[import-untyped]
from openvino import opset13 as ops

from serving.errors import ConfigurationError
from serving.postprocess import Boxes, from_end_to_end, from_raw
from serving.preprocess import Pixels

Precision = Literal["f32", "bf16"]
ENGINE = f"openvino {ov.get_version().split('-')[0]}"


class Slot(Protocol):
    """What one worker runs images through; not shared between threads.

    Attributes:
        square: input of the next run, size x size pixels.
    """

    square: Pixels

    def run(self, confidence: float, at_most: int) -> Boxes:
        """Runs the network on `square`; returns the best boxes in pixels of the square, by falling score."""


class Engine:
    """A compiled network, able to run `workers` images at once on `threads` threads each."""

    def __init__(
        self,
        onnx: bytes,
        *,
        classes: int,
        input_size: int,
        workers: int,
        threads: int,
        precision: Literal["auto", "f32", "bf16"],
    ) -> None:
        """Compiles the network.

        Raises:
            ConfigurationError: if the file is not a detector with this input size and number of classes.
        """
        core = ov.Core()
        self.input_size = input_size
        self.precision = choose_precision(precision, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        try:
            network = core.read_model(onnx)
            network.reshape([1, 3, input_size, input_size])
        except RuntimeError as error:
            raise ConfigurationError(
                f"model.onnx is not a network OpenVINO can read at 1x3x{input_size}x{input_size}: {error}"
            ) from None
        self.end_to_end = is_end_to_end(tuple(network.output(0).shape), classes)
        self._compiled = core.compile_model(
            _accept_pixels(network, input_size),
            "CPU",
            {
                "PERFORMANCE_HINT": "THROUGHPUT",
                "NUM_STREAMS": workers,
                "INFERENCE_NUM_THREADS": workers * threads,
                "INFERENCE_PRECISION_HINT": self.precision,
                # Replicas share a machine; pinned, they would all sit on the first core.
                "ENABLE_CPU_PINNING": False,
            },
        )

    def slot(self) -> Slot:
        """Returns a new slot for one worker thread."""
        return _OpenVinoSlot(self._compiled, self.input_size, self.end_to_end)


class _OpenVinoSlot:
    def __init__(self, compiled: ov.CompiledModel, size: int, end_to_end: bool) -> None:
        self._request = compiled.create_infer_request()
        self._parse = from_end_to_end if end_to_end else from_raw
        batch = np.zeros((1, size, size, 4), np.uint8)
        self._request.set_input_tensor(ov.Tensor(batch, shared_memory=True))
        self.square = batch[0]

    def run(self, confidence: float, at_most: int) -> Boxes:
        self._request.infer()
        return self._parse(self._request.get_output_tensor(0).data[0], confidence, at_most)


def _accept_pixels(network: ov.Model, size: int) -> ov.Model:
    """Moves what is left of preprocessing into the network, where it costs nothing: it takes four-byte pixels."""
    pixels = ops.parameter([1, size, size, 4], np.uint8)
    # A slice is a fast copy; a gather of the same three bytes took a thirtieth of the whole network's time.
    colours = ops.slice(pixels, np.array([0]), np.array([3]), np.array([1]), np.array([3]))
    planes = ops.multiply(ops.transpose(ops.convert(colours, "f32"), np.array([0, 3, 1, 2])), np.float32(1 / 255))
    network.inputs[0].replace(planes.output(0))
    return ov.Model(network.outputs[0].get_node(), [pixels])


def choose_precision(wanted: Literal["auto", "f32", "bf16"], capabilities: list[str]) -> Precision:
    """Resolves `auto`: bf16 only where the CPU has instructions for it, because emulated it is slow and no better."""
    if wanted != "auto":
        return wanted
    return "bf16" if "BF16" in capabilities else "f32"


def is_end_to_end(shape: tuple[int, ...], classes: int) -> bool:
    """Tells from the output shape which head was exported.

    Raises:
        ConfigurationError: for a shape that is neither (1, n, 6) nor (1, 4 + classes, anchors).
    """
    if len(shape) == 3 and shape[2] == 6 and shape[1] != 6:
        return True
    if len(shape) == 3 and shape[1] == 4 + classes:
        return False
    raise ConfigurationError(
        f"model.onnx answers with shape {shape}; a detector of {classes} classes answers (1, n, 6) or "
        f"(1, {4 + classes}, anchors), so version.json and the model do not belong together."
    )
