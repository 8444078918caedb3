import numpy as np
import pytest
import torch

from serving.errors import ConfigurationError
from serving.inference.engine import is_end_to_end
from serving.inference.postprocess import from_end_to_end, from_queries, from_raw
from tests.unit.serving.inference.theirs import non_max_suppression


def raw_output(seed: int, classes: int, anchors: int = 300) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres, sizes = rng.uniform(40, 280, (2, anchors)), rng.uniform(20, 120, (2, anchors))
    scores = rng.uniform(0, 1, (classes, anchors)) ** 3
    return np.concatenate([centres, sizes, scores]).astype(np.float32)


@pytest.mark.parametrize("classes", [1, 2, 7, 300])
@pytest.mark.parametrize("confidence", [0.001, 0.25, 0.9])
@pytest.mark.parametrize("at_most", [1, 20, 3000])
def test_suppression_keeps_exactly_what_ultralytics_keeps(classes: int, confidence: float, at_most: int) -> None:
    for seed in range(5):
        output = raw_output(seed, classes)
        ours = from_raw(output, confidence, at_most)
        given = torch.from_numpy(output[None].copy())
        [theirs] = non_max_suppression(given, confidence, 0.7, max_det=at_most, nc=classes)
        assert ours.scores == pytest.approx(theirs[:, 4].numpy())
        assert ours.corners == pytest.approx(theirs[:, :4].numpy(), abs=1e-3)
        assert ours.class_ids.tolist() == theirs[:, 5].int().tolist()


def test_end_to_end_rows_are_sorted_and_cut_at_the_confidence() -> None:
    rows = np.array([[0, 0, 1, 1, 0.3, 1], [2, 2, 3, 3, 0.9, 0], [4, 4, 5, 5, 0.1, 0]], np.float32)
    found = from_end_to_end(rows, 0.2, 300)
    assert found.scores == pytest.approx([0.9, 0.3])
    assert found.class_ids.tolist() == [0, 1]
    assert from_end_to_end(rows, 0.2, 1).scores == pytest.approx([0.9])


def test_nothing_above_the_confidence_is_no_detection() -> None:
    assert len(from_raw(raw_output(0, 2), 1.0, 300).scores) == 0


def test_the_head_is_told_by_the_shape_even_with_two_classes() -> None:
    assert is_end_to_end((1, 300, 6), 2)
    assert not is_end_to_end((1, 6, 2100), 2)
    with pytest.raises(ConfigurationError, match="do not belong together"):
        is_end_to_end((1, 7, 2100), 2)


def test_shares_of_a_frame_become_corners_in_it() -> None:
    rows = np.array([[0.5, 0.5, 0.2, 0.4, 0.9, 1], [0.1, 0.1, 0.2, 0.2, 0.2, 0]], np.float32)
    found = from_queries(rows, 0.25, 300, width=200, height=100)
    assert found.corners == pytest.approx(np.array([[80, 30, 120, 70]]))
    assert found.class_ids.tolist() == [1]
