"""The network: an exported ONNX detector in ONNX Runtime on the CPU, in 32-bit arithmetic."""

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]

from serving.errors import ConfigurationError
from serving.inference.postprocess import Boxes, Floats, from_end_to_end, from_queries, from_raw
from serving.inference.preprocess import STRIDE, Frame, Planes

ENGINE = f"onnxruntime {ort.__version__}"
PRECISION = "f32"

ANCHOR_STRIDES = (8, 16, 32)
"""The detector has one anchor for each cell of the grids with these steps."""

# What goes wrong is raised as well, and it warns of every machine without a GPU.
ort.set_default_logger_severity(4)


class Engine:
    """A network that any thread may run, on as many images at once as there are callers.

    Attributes:
        frame: what goes in; its shortest sides are its longest if the network takes one size alone.
        end_to_end: whether the network itself chooses among its boxes.
    """

    def __init__(self, onnx: bytes, *, classes: int, frame: Frame, threads: int) -> None:
        """Loads the network and runs it once.

        Args:
            onnx: contents of the ONNX file.
            classes: how many the detector must know.
            frame: what it takes, but for the shortest sides.
            threads: how many a run may use: the caller's, and helpers that all callers share.

        Raises:
            ConfigurationError: if the file is not a detector with this input size and number of classes.
        """
        try:
            self._session = ort.InferenceSession(onnx, _options(threads), providers=["CPUExecutionProvider"])
            [given] = self._session.get_inputs()
            self._input = given.name
            answer = self._run_blank(frame.height, frame.width)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - ONNX Runtime has a dozen without a common base, and all mean this
            raise ConfigurationError(
                f"model.onnx is not a network ONNX Runtime can run at 1x3x{frame.height}x{frame.width}: "
                f"{' '.join(str(error).split())}"
            ) from None
        self.end_to_end = is_end_to_end(answer.shape, classes)
        self.frame = self._with_shortest_sides(frame, rows=answer.shape[1] if self.end_to_end else 0)

    def run(self, planes: Planes, confidence: float, at_most: int) -> Boxes:
        """Runs the network; returns the best boxes in pixels of `planes`, by falling score."""
        answer = self._run(planes)[0]
        if self.frame.stretched:
            return from_queries(answer, confidence, at_most, self.frame.width, self.frame.height)
        parse = from_end_to_end if self.end_to_end else from_raw
        return parse(answer, confidence, at_most)

    def _with_shortest_sides(self, frame: Frame, rows: int) -> Frame:
        width = shortest_side(frame.height, rows, frame.stride, frame.width)
        height = shortest_side(frame.width, rows, frame.stride, frame.height)
        takes = not frame.stretched and self._takes(frame, width, height)
        return frame.with_least(width, height) if takes else frame.with_least(frame.width, frame.height)

    def _takes(self, frame: Frame, width: int, height: int) -> bool:
        """Tells whether it runs on frames with these shorter sides: not if its size is fixed, or its grid coarser."""
        try:
            self._run_blank(height, frame.width)
            self._run_blank(frame.height, width)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - as above
            return False
        return True

    def _run_blank(self, height: int, width: int) -> Floats:
        return self._run(np.zeros((3, height, width), np.float32))

    def _run(self, planes: Planes) -> Floats:
        answer: Floats = self._session.run(None, {self._input: planes[None]})[0]
        return answer


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Helpers that wait busily take the cores of other requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def shortest_side(longer: int, rows: int, stride: int = STRIDE, most: int | None = None) -> int:
    """Returns the shortest other side, in whole strides and at most `most`, on which a network has `rows` anchors.

    An end-to-end head always chooses as many as it was exported for, and fails where there are fewer; a raw head
    chooses none.
    """
    side, most = stride, longer if most is None else most
    while side < most and sum((longer // step) * (side // step) for step in ANCHOR_STRIDES) < rows:
        side += stride
    return side


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
