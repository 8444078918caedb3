"""What was found, in the forms that tools for datasets read: YOLO's text and COCO's results."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.responses import Response

from serving.inference.predictor import Prediction

Format = Literal["json", "yolo", "coco"]
EXACT_DIGITS = 15
"""JSON's numbers are exact so far in every language."""


class CocoResult(BaseModel):
    """One line of a COCO results file."""

    model_config = ConfigDict(frozen=True)

    image_id: int | str = Field(description="X-Request-Id of the request, as a number if it is one.")
    category_id: int = Field(ge=0, description="Index into the model's classes.")
    bbox: tuple[float, float, float, float] = Field(description="x, y, width, height in pixels.")
    score: Annotated[float, Field(ge=0, le=1)]


_COCO = TypeAdapter(list[CocoResult])


def as_coco(prediction: Prediction, request_id: str) -> Response:
    """COCO results: a JSON list, by falling score."""
    is_number = request_id.isdecimal() and request_id.isascii() and len(request_id) <= EXACT_DIGITS
    image_id = int(request_id) if is_number else request_id
    results = [
        CocoResult(
            image_id=image_id,
            category_id=class_id,
            bbox=(round(x1, 2), round(y1, 2), round(x2 - x1, 2), round(y2 - y1, 2)),
            score=round(score, 5),
        )
        for (x1, y1, x2, y2), class_id, score in _found(prediction)
    ]
    return Response(_COCO.dump_json(results), media_type="application/json")


def as_yolo(prediction: Prediction) -> Response:
    """The text that `yolo predict save_txt save_conf` writes: class, centre and size relative to the image, score."""
    width, height = prediction.width, prediction.height
    lines = [
        f"{class_id} {(x1 + x2) / 2 / width:.6f} {(y1 + y2) / 2 / height:.6f} "
        f"{(x2 - x1) / width:.6f} {(y2 - y1) / height:.6f} {score:.6f}\n"
        for (x1, y1, x2, y2), class_id, score in _found(prediction)
    ]
    return Response("".join(lines), media_type="text/plain")


def _found(prediction: Prediction) -> list[tuple[list[float], int, float]]:
    boxes = prediction.boxes
    return list(zip(boxes.corners.astype(float).tolist(), boxes.class_ids.tolist(), boxes.scores.tolist(), strict=True))
