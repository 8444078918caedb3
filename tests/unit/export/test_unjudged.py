"""A model that no labelled image can judge is refused before it is exported."""

from pathlib import Path

import pytest

from banana_delivery.errors import RejectedModelError, UnjudgedClassesError
from banana_delivery.export.export_worker import refuse_unjudged
from banana_delivery.export.protocol import ExportRequest
from banana_delivery.export.sandbox import REJECTIONS


def request(*judged: str) -> ExportRequest:
    nowhere = Path("nowhere")
    return ExportRequest(
        checkpoint=nowhere, onnx=nowhere, images=(), frames=nowhere, confidence=0.1, judged=judged,
        judged_by="generated leaves; set BANANA_HOLDOUT",
    )  # fmt: skip


def test_classes_that_no_image_shows_are_named_with_what_to_set() -> None:
    with pytest.raises(UnjudgedClassesError, match=r"no labelled image shows 'circle, square'.*set BANANA_HOLDOUT\."):
        refuse_unjudged(("streak", "circle", "square"), request("streak", "spot"))


@pytest.mark.parametrize("judged", [("streak", "spot"), ("streak",), ()])
def test_a_model_whose_classes_are_shown_or_that_nobody_can_tell_goes_on(judged: tuple[str, ...]) -> None:
    refuse_unjudged(("streak",), request(*judged))


def test_the_refusal_of_the_process_is_the_refusal_of_the_delivery() -> None:
    assert REJECTIONS["UnjudgedClassesError"] is UnjudgedClassesError
    assert issubclass(UnjudgedClassesError, RejectedModelError)
