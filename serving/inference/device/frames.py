"""Sessions on the GPU, one for each size of frame.

cuDNN plans a convolution for one size, and a session keeps the plan of the last one alone: with photographs of two
shapes in turn every image took 0.2 to 0.5 s, a hundred times the 3 ms of one shape (docs/adr/0040). So each size has a
session of its own, which is prepared in the background; until then the CPU answers.

Few threads run them, since each holds memory of its own in each session: two are half as fast again as one, and four,
with 16 cores to prepare pictures, hardly faster.
"""

import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from serving.inference.device.agreement import Difference
from serving.inference.device.cuda import NoCudaError
from serving.inference.postprocess import Floats
from serving.inference.preprocess import Planes

logger = logging.getLogger("serving")

MOST_FRAMES = 8
"""Photographs of phones need four; the least recently used one goes. Each took 0.5 GB of the GPU's memory."""
RUNNERS = 2
HANG_SECONDS = 10.0
"""A GPU that was silent for so long is lost: even a large network on a small GPU takes a tenth of a second."""
START_SECONDS = 100.0
"""The same at the start, when two gigabytes of libraries are loaded: the probe of a start waits for 180."""

Session = Any
"""Of ONNX Runtime, which has no types."""
Frame = tuple[int, ...]


class GpuFrames:
    """Runs the network on the GPU for the frames that are prepared.

    Args:
        open_session: loads the network into the GPU once more.
        on_cpu: answers on the CPU.
        compare: how far an answer of the CPU and one of the GPU are apart.
        name: of the network's input.
    """

    def __init__(
        self,
        open_session: Callable[[], Session],
        on_cpu: Callable[[Planes], Floats],
        compare: Callable[[Floats, Floats], Difference],
        name: str,
    ) -> None:
        self._open = open_session
        self._on_cpu = on_cpu
        self._compare = compare
        self._name = name
        self._lock = threading.Lock()
        self._sessions: OrderedDict[Frame, Session] = OrderedDict()
        self._asked: set[Frame] = set()
        self._refused: set[Frame] = set()
        self._runner = ThreadPoolExecutor(RUNNERS, thread_name_prefix="gpu")
        self._preparer = ThreadPoolExecutor(1, thread_name_prefix="gpu-frames")

    @property
    def is_preparing(self) -> bool:
        """Whether a frame was asked for that is not ready yet."""
        return bool(self._asked)

    def begin(self, planes: Planes) -> Difference:
        """Gets the first frame ready, as `prepare` does, in a time that whoever is to serve can wait.

        Raises:
            NoCudaError: if nothing came of it in time: a driver that hangs does so in any call.
            Exception: whatever ONNX Runtime raises, or `TimeoutError`.
        """
        begun = self._preparer.submit(self.prepare, planes)
        try:
            return begun.result(START_SECONDS)
        except TimeoutError:
            if begun.done():
                raise
            raise NoCudaError(f"the GPU was silent for {START_SECONDS:g} seconds") from None

    def prepare(self, planes: Planes) -> Difference:
        """Gets the frame of `planes` ready if the GPU answers as the CPU does; tells how far they are apart.

        Raises:
            Exception: whatever ONNX Runtime raises, or `TimeoutError`.
        """
        session = self._open()
        difference = self._compare(self._on_cpu(planes), self._on(session, planes))
        if difference.is_small:
            # Not by this thread: what a runner needs for it would else keep the first image waiting.
            self._run(session, planes)
            with self._lock:
                self._sessions[planes.shape] = session
                while len(self._sessions) > MOST_FRAMES:
                    self._sessions.popitem(last=False)
        return difference

    def run(self, planes: Planes) -> Floats | None:
        """The network's raw answer; None if the frame is not ready, which it then becomes.

        Raises:
            Exception: whatever ONNX Runtime raises, or `TimeoutError`.
        """
        with self._lock:
            session = self._sessions.get(planes.shape)
            if session is None:
                if planes.shape not in self._asked | self._refused:
                    self._asked.add(planes.shape)
                    self._preparer.submit(self._prepare_late, planes.copy())
                return None
            self._sessions.move_to_end(planes.shape)
        return self._run(session, planes)

    def close(self) -> None:
        """Prepares no further frame."""
        self._preparer.shutdown(wait=False, cancel_futures=True)
        self._runner.shutdown(wait=False, cancel_futures=True)

    def _prepare_late(self, planes: Planes) -> None:
        """A frame that cannot be had on the GPU stays the CPU's, and is not tried again."""
        try:
            difference = self.prepare(planes)
            why = "" if difference.is_small else f"CUDA answers differently, by {difference}"
        except Exception as error:  # noqa: BLE001 - ONNX Runtime has a dozen without a common base
            why = said(error)
        if why:
            self._refused.add(planes.shape)
            logger.warning("Frames of %d x %d pixels stay on the CPU: %s.", *planes.shape[1:], why)
        self._asked.discard(planes.shape)

    def _run(self, session: Session, planes: Planes) -> Floats:
        return self._runner.submit(self._on, session, planes).result(HANG_SECONDS)

    def _on(self, session: Session, planes: Planes) -> Floats:
        answer: Floats = session.run(None, {self._name: planes[None]})[0]
        return answer


_FAILURE = re.compile(r"\b\w+ failure \d+: [^;]+")
LONGEST_REASON = 200
"""Characters of ONNX Runtime's own words, where they hold no sentence."""


def said(error: Exception) -> str:
    """What ONNX Runtime says, on one line: its sentence about the device, without where that stands in its source."""
    if isinstance(error, TimeoutError):
        return f"it was silent for {HANG_SECONDS:g} seconds"
    text = " ".join(str(error).split())
    found = _FAILURE.search(text)
    return (found[0] if found else text[:LONGEST_REASON]).strip(" .")
