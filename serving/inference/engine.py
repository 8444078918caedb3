"""The network: an exported ONNX detector in ONNX Runtime, in the arithmetic that it was exported in."""

from collections.abc import Callable

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]

from serving.errors import ConfigurationError
from serving.inference.device.agreement import COMPARED, Difference, difference
from serving.inference.device.network import Network
from serving.inference.postprocess import Boxes, Floats, best_of_raw, from_end_to_end, from_queries, from_raw
from serving.inference.preprocess import Frame, Planes

ENGINE = f"onnxruntime {ort.__version__}"

# What goes wrong is raised as well, and it warns of every machine without a GPU.
ort.set_default_logger_severity(4)


class Engine:
    """A network that any thread may run, on as many images at once as there are callers.

    Attributes:
        network: what runs it; on the CPU, until a GPU is tried.
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
            self.network = Network(onnx, threads)
            answer = self._run_blank(frame.height, frame.width)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - ONNX Runtime has a dozen without a common base, and all mean this
            raise ConfigurationError(
                f"model.onnx is not a network ONNX Runtime can run at 1x3x{frame.height}x{frame.width}: "
                f"{' '.join(str(error).split())}"
            ) from None
        self.end_to_end = is_end_to_end(answer.shape, classes)
        if frame.stretched and not self.end_to_end:
            raise ConfigurationError(
                f"model.onnx answers with shape {answer.shape}, but a detector that takes stretched images chooses its "
                "boxes itself, so version.json and the model do not belong together."
            )
        self.frame = self._with_shortest_sides(frame)

    def run(self, planes: Planes, confidence: float, at_most: int) -> Boxes:
        """Runs the network; returns the best boxes in pixels of `planes`, by falling score."""
        answer = self.network.run(planes)[0]
        if self.frame.stretched:
            return from_queries(answer, confidence, at_most, self.frame.width, self.frame.height)
        parse = from_end_to_end if self.end_to_end else from_raw
        return parse(answer, confidence, at_most)

    def try_cuda(self, onnx: bytes, sample: Planes) -> None:
        """Moves to a GPU if one answers `sample` as the CPU does; `network.device` says what came of it.

        Args:
            onnx: contents of the ONNX file.
            sample: a picture, as the network takes it.
        """
        self.network.try_cuda(onnx, sample, self._difference)

    def _difference(self, ours: Floats, theirs: Floats) -> Difference:
        return difference(self._best(ours[0]), self._best(theirs[0]))

    def _best(self, answer: Floats) -> Boxes:
        """The boxes with the highest scores, whatever these are, and none suppressed."""
        if self.frame.stretched:
            return from_queries(answer, -1.0, COMPARED, self.frame.width, self.frame.height)
        return (from_end_to_end if self.end_to_end else best_of_raw)(answer, -1.0, COMPARED)

    def _with_shortest_sides(self, frame: Frame) -> Frame:
        """Finds out what it takes by trial.

        An end-to-end head chooses as many rows as it was exported for, and fails where its grids have fewer cells; a
        size may be fixed, or a grid coarser than the file says.
        """
        if frame.stretched:
            return frame.with_least(frame.width, frame.height)
        return frame.with_least(
            _shortest(frame.width, frame.stride, lambda width: self._takes(frame.height, width)),
            _shortest(frame.height, frame.stride, lambda height: self._takes(height, frame.width)),
        )

    def _takes(self, height: int, width: int) -> bool:
        try:
            self._run_blank(height, width)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - as above
            return False
        return True

    def _run_blank(self, height: int, width: int) -> Floats:
        return self.network.run(np.zeros((3, height, width), np.float32))


def _shortest(longest: int, stride: int, takes: Callable[[int], bool]) -> int:
    """Returns the shortest side that is taken together with the next one, without which a grid is coarser than said."""
    sides = range(stride, longest, stride)
    return next((side for side in sides if takes(side) and takes(side + stride)), longest)


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
