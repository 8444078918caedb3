"""The subprocess that makes 8-bit integers of an exported model, by ONNX Runtime's static quantisation.

``python -m banana_delivery.export.precision.quantise_worker REQUEST ANSWER TIMEOUT``

Weights are signed and have 7 bits, one scale a channel; what flows between layers is unsigned and has 8. So the sum of
two products fits into 16 bits, and CPUs with and without instructions for integers (VNNI) answer the same: the older
ones cut that sum off (`vpmaddubsw`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from banana_delivery.errors import RejectedModelError, UnsupportedModelError
from banana_delivery.export.precision.protocol import Quantised, QuantiseRequest
from banana_delivery.export.sandbox import get_on, serve
from banana_delivery.quoting import one_line

if TYPE_CHECKING:
    import onnx

    from serving.inference.engine import Engine
    from serving.inference.preprocess import Planes

MAX_PIXELS = 100_000_000
OPERATORS = ("Conv", "Sigmoid", "Mul", "Add", "Concat", "MaxPool", "Resize", "Split", "Slice")
"""Convolutions, and what lies between them in a backbone and a neck. Everything else stays in f32, such as what ONNX
Runtime has no integers for; attention's products of two activations lose the most and take little of the time."""
IN_F32 = frozenset({"LayerNormalization"})
"""Layers with one of these are transformers', whose sums of residuals integers do not hold."""
ENDS = 2
"""Convolutions at the end of each of the head's branches that stay in f32."""
_LAYER = re.compile(r"/model\.(\d+)/")
"""Of which of ultralytics' layers a node is, by its name."""


def quantise(request: QuantiseRequest) -> Quantised:
    """Calibrate and quantise.

    Raises:
        UnsupportedModelError: if nothing can be made of the model.
    """
    try:
        return _quantise(request)
    except (RejectedModelError, OSError, MemoryError):
        raise
    except Exception as error:
        said = one_line(f"{type(error).__name__}: {error}", 300)
        raise UnsupportedModelError(f"ONNX Runtime cannot quantise it ({said}).") from error


def _quantise(request: QuantiseRequest) -> Quantised:
    import onnx
    from onnxruntime.quantization import (  # type: ignore[import-untyped]
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process  # type: ignore[import-untyped]

    from banana_delivery.export.export_worker import steady

    engine = _engine(request.model)
    prepared, written = request.to.with_suffix(".prepared"), request.to.with_suffix(".quantised")
    # Of dynamic shapes nothing is inferred but their rank, and nothing more is needed.
    quant_pre_process(str(request.model), str(prepared), skip_symbolic_shape=True)
    graph = onnx.load(prepared).graph
    frames = _frames(request, engine)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Any] | None:
            planes = next(frames, None)
            return None if planes is None else {graph.input[0].name: planes[None]}

    quantize_static(
        str(prepared),
        str(written),
        Reader(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(OPERATORS),
        nodes_to_exclude=sorted(in_f32(graph)),
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    refuse_unsound(onnx.load(written))
    steady(written, request.to)
    return Quantised(convolutions=_count(graph, "Conv"), in_integers=_count(graph, "Conv", but=in_f32(graph)))


def in_f32(graph: onnx.GraphProto) -> set[str]:
    """The nodes that stay as they are: the ends of the head, transformers, and what belongs to no layer.

    In the head scores and edges are made, of which an eighth bit takes most. Of the sample model's mAP50-95 0.009 are
    lost with all but the last convolution of each branch in integers, 0.002 with all but the last two, and 0.001
    without any of them.

    Raises:
        UnsupportedModelError: if the nodes do not say of which layer they are.
    """
    layers = {node.name: int(found[1]) for node in graph.node if (found := _LAYER.search(node.name))}
    if not layers:
        raise UnsupportedModelError("Its nodes do not tell the head from what comes before.")
    head, follow = max(layers.values()), _convolutions_behind(graph)
    transformers = {layers.get(node.name) for node in graph.node if node.op_type in IN_F32}

    def stays(name: str) -> bool:
        layer = layers.get(name)
        return layer is None or layer in transformers or (layer == head and follow[name] < ENDS)

    return {node.name for node in graph.node if stays(node.name)}


def _convolutions_behind(graph: onnx.GraphProto) -> dict[str, int]:
    """How many convolutions follow each node, at most, on the way to an answer; nodes stand in the order of work."""
    behind: dict[str, int] = {}
    wanted: dict[str, int] = {}
    for node in reversed(graph.node):
        behind[node.name] = max((wanted.get(name, 0) for name in node.output), default=0)
        here = behind[node.name] + (node.op_type == "Conv")
        wanted |= {name: max(here, wanted.get(name, 0)) for name in node.input}
    return behind


def refuse_unsound(model: onnx.ModelProto) -> None:
    """Let nothing pass whose scales are no positive numbers, or that has no integers at all.

    Raises:
        UnsupportedModelError: if that is so.
    """
    import numpy as np
    from onnx import numpy_helper

    scales = {node.input[1] for node in model.graph.node if node.op_type in {"QuantizeLinear", "DequantizeLinear"}}
    if not scales:
        raise UnsupportedModelError("There is nothing in it that can be quantised.")
    for constant in model.graph.initializer:
        if constant.name in scales:
            numbers = numpy_helper.to_array(constant)
            if not bool(np.isfinite(numbers).all() and (numbers > 0).all()):
                raise UnsupportedModelError(
                    "On the images that it was calibrated on, its layers give numbers that are none, or far too large."
                )


def _engine(model: Path) -> Engine:
    """The model as it is served: it knows in which frames it takes images."""
    from serving.inference.engine import Engine
    from serving.inference.model import read_version, verified_bytes

    version = read_version(model)
    onnx = verified_bytes(model, version.onnx_sha256)
    return Engine(onnx, classes=len(version.classes), frame=version.takes, threads=1)


def _frames(request: QuantiseRequest, engine: Engine) -> Iterator[Planes]:
    """Each image as the network sees it when it is served."""
    import numpy as np

    from serving.inference.apart import decode
    from serving.inference.preprocess import Letterbox, fill

    for file in request.images:
        image = decode(file.read_bytes(), MAX_PIXELS)
        box = Letterbox.fit(image.width, image.height, engine.frame)
        planes = np.empty((3, box.frame_height, box.frame_width), np.float32)
        fill(planes, image.pixels, image.orientation, box)
        get_on(request.progress)
        yield planes


def _count(graph: onnx.GraphProto, operator: str, but: set[str] = frozenset()) -> int:  # type: ignore[assignment]
    return sum(node.op_type == operator and node.name not in but for node in graph.node)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], QuantiseRequest, quantise))
