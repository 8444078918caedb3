"""A small detector of convolutions, named as ultralytics names its layers, whose answers can be worked out by hand.

As ``tests.unit.serving.detectors``: a cell's box is the cell itself, and its scores are how red and how blue it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from banana_delivery.export.precision.order import JudgingImage

CLASSES = ("red", "blue")
CELL, GRID = 16, 8
COLOURS: dict[int, tuple[int, int, int]] = {0: (0, 0, 255), 1: (255, 0, 0)}
"""By class, blue first as OpenCV has them."""


def layered_detector(*, loudness: float = 1.0, named: bool = True, transformer: bool = False) -> bytes:
    """The ONNX file.

    Args:
        loudness: by what the first layer's numbers are multiplied, and the next one's divided.
        named: whether the nodes say of which layer they are.
        transformer: whether its second layer has a normalisation as transformers have.
    """
    average = np.zeros((3, 3, CELL, CELL), np.float32)
    average[range(3), range(3)] = loudness / CELL**2
    same = np.eye(3, dtype=np.float32)[:, :, None, None]
    scores = np.array([[1, -1, 0], [0, -1, 1]], np.float32)[:, :, None, None]
    weights = [average, same / np.float32(loudness), same, same, same, scores]
    names = [f"/model.{min(layer, 2)}/{layer}/" if named else f"part{layer}" for layer in range(len(weights))]
    nodes, given = [], "images"
    for layer, name in enumerate(names):
        stride = CELL if layer == 0 else 1
        nodes += [
            helper.make_node("Conv", [given, f"w{layer}"], [f"c{layer}"], name=f"{name}Conv", strides=[stride] * 2),
            helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"], name=f"{name}Relu"),
        ]
        given = f"r{layer}"
        if layer == 1 and transformer:
            nodes.append(helper.make_node("LayerNormalization", ["r1", "n"], ["n1"], name=f"{name}Norm", axis=1))
            nodes += [helper.make_node("Mul", ["n1", "zero"], ["z1"], name=f"{name}Mul")]
            nodes += [helper.make_node("Add", ["r1", "z1"], ["a1"], name=f"{name}Add")]
            given = "a1"
    nodes += [
        helper.make_node("Reshape", [given, "flat"], ["answers"], name=f"{names[-1]}Reshape"),
        helper.make_node("Shape", [given], ["grid"], start=2, name=f"{names[-1]}Shape"),
        helper.make_node("Slice", ["edges", "origin", "grid", "sides"], ["here"], name=f"{names[-1]}Slice"),
        helper.make_node("Reshape", ["here", "flat_edges"], ["boxes"], name=f"{names[-1]}Reshape_1"),
        helper.make_node("Concat", ["boxes", "answers"], ["output0"], axis=1, name=f"{names[-1]}Concat"),
    ]
    constants: dict[str, NDArray[Any]] = {
        "flat": np.array([1, 2, -1], np.int64),
        "flat_edges": np.array([1, 4, -1], np.int64),
        "origin": np.zeros(2, np.int64),
        "sides": np.array([2, 3], np.int64),
        "edges": _edges(),
        "zero": np.zeros(1, np.float32),
        "n": np.ones((3, 1, 1), np.float32),
        **{f"w{layer}": weight for layer, weight in enumerate(weights)},
    }
    graph = helper.make_graph(
        nodes,
        "layered",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, "height", "width"])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 4 + len(CLASSES), "boxes"])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _edges() -> NDArray[np.float32]:
    """Centre and size of each cell, shape (1, 4, GRID, GRID)."""
    centre = (np.arange(GRID, dtype=np.float32) + 0.5) * CELL
    x, y = np.meshgrid(centre, centre)
    return np.stack([x, y, np.full_like(x, CELL), np.full_like(x, CELL)])[None].astype(np.float32)


def painted(folder: Path, count: int, *, plain: bool = False) -> list[JudgingImage]:
    """Pictures of the size of the frame with one cell in colour, of any brightness, and what they show.

    Args:
        folder: receives them.
        count: how many.
        plain: whether they show nothing but one dark grey.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for index in range(count):
        klass, column, row = index % 2, index % 7, index // 7 % 7
        pixels = np.full((CELL * GRID, CELL * GRID, 3), 40 if plain else 114, np.uint8)
        left, top = column * CELL, row * CELL
        if not plain:
            shade = np.array(COLOURS[klass]) * (0.6 + index % 5 / 10)
            pixels[top : top + CELL, left : left + CELL] = shade.astype(np.uint8)
        path = folder / f"{index}.png"
        cv2.imwrite(str(path), pixels)
        box = (float(left), float(top), float(left + CELL), float(top + CELL))
        size = (CELL * GRID, CELL * GRID)
        images.append(JudgingImage(name=path.name, path=path, size=size, boxes=(box,), classes=(klass,)))
    return images
