"""Tiny real detectors for tests: networks whose answer can be worked out by hand.

The network averages the image over a grid of cells. A cell's box is the cell itself; the score of class 0 is how red it
is, that of class 1 how blue. So a painted square must come back as a box where it was painted.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = ["red", "blue"]
GRID = 8


def detector(
    size: int = 64, *, end_to_end: bool = True, any_frame: bool = False, coarsest: int = 0, chooses: int = 0
) -> bytes:
    """Returns the ONNX file of a detector with cells of size / GRID pixels.

    Args:
        size: pixels of a side, of which there are GRID x GRID cells.
        end_to_end: whether the network chooses among its boxes.
        any_frame: whether it takes frames of other heights and widths, up to `size`, or this square alone.
        coarsest: pixels of the cells of a second grid, of which each side must be a multiple; 0 for no such grid.
        chooses: how many boxes an end-to-end network chooses, whatever there are; 0 for all.
    """
    cell = size // GRID
    second = coarsest or cell
    sides, boxes = (["height", "width"], "boxes") if any_frame else ([size, size], GRID * GRID)
    corner = np.arange(GRID, dtype=np.float32) * cell
    x, y = (axis[None, None] for axis in np.meshgrid(corner, corner))
    whole = np.full_like(x, cell)
    if end_to_end:
        fixed = np.concatenate([x, y, x + cell, y + cell], axis=1)
    else:
        fixed = np.concatenate([x + cell / 2, y + cell / 2, whole, whole], axis=1)
    nodes = [
        helper.make_node("AveragePool", ["images"], ["fine"], kernel_shape=[cell, cell], strides=[cell, cell]),
        *_second_grid(second),
        helper.make_node("Reshape", ["cells", "flat"], ["colours"]),
        helper.make_node("Shape", ["cells"], ["grid"], start=2),
        helper.make_node("Slice", ["all_boxes", "origin", "grid", "sides"], ["grid_boxes"]),
        helper.make_node("Reshape", ["grid_boxes", "flat_boxes"], ["boxes"]),
        helper.make_node("Split", ["colours"], ["r", "g", "b"], axis=1, num_outputs=3),
        # More of the colour than of green, so that the grey padding is neither.
        helper.make_node("Sub", ["r", "g"], ["red_or_less"]),
        helper.make_node("Sub", ["b", "g"], ["blue_or_less"]),
        helper.make_node("Relu", ["red_or_less"], ["red"]),
        helper.make_node("Relu", ["blue_or_less"], ["blue"]),
    ]
    if end_to_end:
        nodes += [
            helper.make_node("Max", ["red", "blue"], ["score"]),
            helper.make_node("Greater", ["blue", "red"], ["is_blue"]),
            helper.make_node("Cast", ["is_blue"], ["class"], to=TensorProto.FLOAT),
            helper.make_node("Concat", ["boxes", "score", "class"], ["columns"], axis=1),
            helper.make_node("Transpose", ["columns"], ["rows" if chooses else "output0"], perm=[0, 2, 1]),
            *(_best() if chooses else ()),
        ]
        shape: list[int | str] = [1, chooses or boxes, 6]
    else:
        nodes.append(helper.make_node("Concat", ["boxes", "red", "blue"], ["output0"], axis=1))
        shape = [1, 4 + len(CLASSES), boxes]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *sides])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(np.array([1, 3, -1], np.int64), "flat"),
            numpy_helper.from_array(np.array([1, 4, -1], np.int64), "flat_boxes"),
            numpy_helper.from_array(np.array([0, 0], np.int64), "origin"),
            numpy_helper.from_array(np.array([2, 3], np.int64), "sides"),
            numpy_helper.from_array(np.array([1, 1, second // cell, second // cell], np.float32), "scales"),
            numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
            numpy_helper.from_array(fixed.astype(np.float32), "all_boxes"),
            numpy_helper.from_array(np.array([chooses], np.int64), "chosen"),
            numpy_helper.from_array(np.array([-1], np.int64), "row"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _best() -> list[onnx.NodeProto]:
    """The rows with the highest scores, which fails where there are fewer."""
    return [
        helper.make_node("TopK", ["score", "chosen"], ["best_score", "index"], axis=2),
        helper.make_node("Reshape", ["index", "row"], ["best"]),
        helper.make_node("Gather", ["rows", "best"], ["output0"], axis=1),
    ]


def _second_grid(cell: int) -> list[onnx.NodeProto]:
    """A coarser grid that has no say, but like those of real networks only fits onto the finer one if it divides."""
    sides = [cell, cell]
    return [
        helper.make_node("AveragePool", ["images"], ["coarse"], kernel_shape=sides, strides=sides, ceil_mode=1),
        helper.make_node("Resize", ["coarse", "", "scales"], ["enlarged"], mode="nearest"),
        helper.make_node("Mul", ["enlarged", "zero"], ["nothing"]),
        helper.make_node("Add", ["fine", "nothing"], ["cells"]),
    ]


def write_model(folder: Path, onnx_file: bytes | None = None, **changes: object) -> Path:
    """Writes model.onnx and a matching version.json, except for `changes`; returns the path of model.onnx."""
    content = detector() if onnx_file is None else onnx_file
    version = {
        "model_name": "banana_sigatoka_detector",
        "version": "7",
        "mlflow_run_id": "run-7",
        "source": "models:/banana_sigatoka_detector/7",
        "classes": CLASSES,
        "input_size": 64,
        "checkpoint_sha256": "0" * 64,
        "onnx_sha256": hashlib.sha256(content).hexdigest(),
        "exported_with": "tests",
    } | changes
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    path.write_bytes(content)
    path.with_name("version.json").write_text(json.dumps(version))
    return path
