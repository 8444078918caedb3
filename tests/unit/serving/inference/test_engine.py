from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.errors import ConfigurationError
from serving.inference.engine import Engine
from serving.inference.predictor import Predictor
from serving.inference.preprocess import Frame
from tests.unit.serving.detectors import CLASSES, detector
from tests.unit.serving.images import encode, picture

SIZE = 128


def engine(onnx: bytes) -> Engine:
    return Engine(onnx, classes=len(CLASSES), frame=Frame.square(SIZE), threads=1)


@pytest.mark.parametrize(
    ("onnx", "shortest"),
    [
        (detector(SIZE, end_to_end=False, any_frame=True), 32),
        (detector(SIZE, end_to_end=False), SIZE),
        (detector(SIZE, end_to_end=False, any_frame=True, coarsest=64), SIZE),
        (detector(SIZE, end_to_end=True, any_frame=True), 32),
        (detector(SIZE, end_to_end=True, any_frame=True, chooses=24), 64),
        (detector(SIZE, end_to_end=True, any_frame=True, chooses=64), SIZE),
    ],
    ids=[
        "any frame",
        "a fixed size",
        "a grid coarser than a stride",
        "an end-to-end head",
        "one that chooses",
        "one that chooses all",
    ],
)
def test_a_network_gets_the_shortest_frames_it_takes(onnx: bytes, shortest: int) -> None:
    frame = engine(onnx).frame
    assert (frame.least_width, frame.least_height) == (shortest, shortest)


def test_images_of_every_shape_are_answered_right_by_two_threads_at_once() -> None:
    """Each thread has one buffer for frames of all sizes; none may see what another left there."""
    predictor = Predictor(engine(detector(SIZE, end_to_end=False, any_frame=True)), max_pixels=10**6)
    sizes = ((256, 128), (128, 256), (256, 64), (256, 256), (64, 256))
    images = [encode(picture(*size, box=(32, 32, 63, 63)), "PNG") for size in sizes]

    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda image: predictor.predict(image, 0.9, 10), images * 20))

    assert all(answer.boxes.corners.tolist() == [[32, 32, 64, 64]] for answer in answers)


def test_a_file_that_is_no_network_is_refused_in_one_sentence() -> None:
    with pytest.raises(ConfigurationError, match=r"^model.onnx is not a network ONNX Runtime can run[^\n]*$"):
        engine(b"not a network")


@pytest.mark.parametrize(("any_frame", "least"), [(True, (64, 64)), (False, (128, 128))])
def test_frames_of_a_coarser_grid_are_whole_strides_of_it(any_frame: bool, least: tuple[int, int]) -> None:
    onnx = detector(SIZE, end_to_end=False, any_frame=any_frame, coarsest=64)
    frame = Engine(onnx, classes=len(CLASSES), frame=Frame(SIZE, SIZE, stride=64), threads=1).frame
    assert (frame.least_width, frame.least_height) == least
