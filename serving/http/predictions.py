"""POST /predict and its two siblings."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from serving.errors import RequestError, invalid_request, quoted, unsupported_media
from serving.faults import Fault
from serving.http.body.forms import described, images_of
from serving.http.body.upload import Upload
from serving.http.results import CocoResult, Format, as_coco, as_yolo
from serving.http.schemas import (
    BatchFailure,
    BatchResponse,
    BatchSuccess,
    Detection,
    ErrorDetail,
    ErrorResponse,
    ImageSize,
    PredictResponse,
)
from serving.inference.predictor import Prediction
from serving.replica import Replica

ROUTES = frozenset({"/predict", "/predict/batch", "/predict/annotated"})
"""By these labels a release is judged; the pipeline names them as well."""
DEFAULT_CONFIDENCE = 0.25
MAX_DETECTIONS = 300
HANG_POLL_SECONDS = 0.2
LARGE_BODY = 1024 * 1024
"""Taking a form of this size apart takes 0.5 ms, and 3 ms if somebody made it hard; one of 16 MiB 13 and 44 ms."""


class Parameters(BaseModel):
    """The query of a request; an unknown name is a typo, and refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    confidence: float = Field(
        default=DEFAULT_CONFIDENCE, ge=0, le=1, description="Only detections with a higher score are returned."
    )
    max_detections: int = Field(
        default=MAX_DETECTIONS, ge=1, le=MAX_DETECTIONS, description="At most so many, the highest scores."
    )


class FormattedParameters(Parameters):
    """The same, and the form of the answer."""

    format: Format = Field(default="json", description="Form of the answer: ours, YOLO's text, or COCO's results.")


DEFAULTS = FormattedParameters()

ERRORS: dict[int | str, dict[str, Any]] = {
    408: {"model": ErrorResponse, "description": "The body arrived too slowly."},
    413: {"model": ErrorResponse, "description": "The body, or the image it unpacks to, is too large."},
    415: {"model": ErrorResponse, "description": "Not a form, file or JSON, or not an image of a supported format."},
    422: {"model": ErrorResponse, "description": "A corrupt image, a missing field or a parameter out of range."},
    500: {"model": ErrorResponse, "description": "An error of this application."},
    503: {"model": ErrorResponse, "description": "Not ready, or all places taken; see Retry-After."},
}

_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
_JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
}


def router(replica: Replica) -> APIRouter:
    """Returns the routes that predict."""
    routes = APIRouter(tags=["predictions"], responses=ERRORS, dependencies=[Depends(_refuse_repetition)])

    @routes.post(
        "/predict",
        response_model=PredictResponse | list[CocoResult],
        responses=_TEXT,
        openapi_extra=described("image"),
    )
    async def predict_one(request: Request, parameters: Annotated[FormattedParameters, Query()]) -> Response:
        """Finds objects in one image."""
        return await predict(replica, request, parameters)

    @routes.post(
        "/predict/batch",
        response_model=BatchResponse,
        openapi_extra=described("images"),
    )
    async def predict_batch(request: Request, parameters: Annotated[Parameters, Query()]) -> Response:
        """Finds objects in several images; one that cannot be decoded does not spoil the others."""
        with replica.uploads.upload(request) as upload:
            images = await _images(replica, request, upload, "images", most=replica.settings.max_batch_images)
            futures = replica.start(images, parameters.confidence, parameters.max_detections)
            outcomes = await asyncio.gather(*futures, return_exceptions=True)
        _record(replica, request, [outcome for outcome in outcomes if isinstance(outcome, Prediction)])
        results = [_batch_result(replica, outcome) for outcome in outcomes]
        return _json(BatchResponse(**_identity(replica, request), results=results))

    @routes.post("/predict/annotated", response_class=Response, responses=_JPEG, openapi_extra=described("image"))
    async def predict_annotated(request: Request, parameters: Annotated[Parameters, Query()]) -> Response:
        """Finds objects in one image and answers with a JPEG on which they are drawn."""
        with replica.uploads.upload(request) as upload:
            [image] = await _images(replica, request, upload, "image", most=1)
            prediction, jpeg = await replica.draw(image, parameters.confidence, parameters.max_detections)
        _record(replica, request, [prediction])
        return Response(jpeg, media_type="image/jpeg")

    return routes


async def _refuse_repetition(request: Request) -> None:
    """Refuses a parameter that is given twice: one of the two would be overlooked, as a wrong name would be."""
    given = Counter(name for name, _ in request.query_params.multi_items())
    for name, times in given.most_common(1):
        if times > 1:
            raise invalid_request(f"Parameter {quoted(name)} is given {times} times; give it once.")


async def predict(replica: Replica, request: Request, parameters: FormattedParameters = DEFAULTS) -> Response:
    """Answers `POST /predict`; `serving.http.shortcut` calls it without FastAPI when there are no parameters.

    Raises:
        RequestError: what the client did wrong, or why this replica cannot answer now.
        ClientDisconnect: if the client went away.
    """
    with replica.uploads.upload(request) as upload:
        [image] = await _images(replica, request, upload, "image", most=1)
        await _suffer(replica.faults.strike(request.state.traffic), request)
        [future] = replica.start([image], parameters.confidence, parameters.max_detections)
        prediction = await future
    _record(replica, request, [prediction])
    if parameters.format == "yolo":
        return as_yolo(prediction)
    if parameters.format == "coco":
        return as_coco(prediction, request.state.request_id)
    return _json(PredictResponse(**_identity(replica, request), **_found(replica, prediction)))


async def _images(replica: Replica, request: Request, upload: Upload, field: str, most: int) -> list[bytes]:
    """Reads the images of a request, after asking whether there would be room to work on one."""
    replica.check_room()
    encoding = request.headers.get("content-encoding", "")
    if encoding.strip().lower() not in {"", "identity"}:
        raise unsupported_media(f"Send the body as it is, without Content-Encoding {quoted(encoding)}.")
    body, content_type = await upload.read(), request.headers.get("content-type", "")
    if len(body) > LARGE_BODY:
        images = await asyncio.to_thread(images_of, body, content_type, field)
    else:
        images = images_of(body, content_type, field)
    if len(images) > most:
        raise invalid_request(f"There are {len(images)} images named {field!r}; at most {most} are accepted.")
    return images


async def _suffer(fault: Fault | None, request: Request) -> None:
    """Breaks the request as a rehearsed fault wants; a hanging one ends when its client gives up."""
    if fault is None:
        return
    if fault.kind == "error":
        raise RequestError(500, "rehearsed_fault", "This replica was started with FAULT set, and fails on purpose.")
    if fault.kind == "slow":
        await asyncio.sleep(fault.seconds)
        return
    while not await request.is_disconnected():
        await asyncio.sleep(HANG_POLL_SECONDS)
    raise ClientDisconnect


def _record(replica: Replica, request: Request, predictions: Sequence[Prediction]) -> None:
    for prediction in predictions:
        replica.record(request.state.request_id, request.state.traffic, prediction)


def _identity(replica: Replica, request: Request) -> dict[str, Any]:
    return {
        "request_id": request.state.request_id,
        "model_version": replica.model.version.version,
        "digest": replica.settings.image_digest,
    }


def _found(replica: Replica, prediction: Prediction) -> dict[str, Any]:
    classes, boxes = replica.model.version.classes, prediction.boxes
    detections = [
        Detection(box=tuple(box), class_id=class_id, class_name=classes[class_id], score=score)
        for box, class_id, score in zip(
            boxes.corners.astype(float).round(2).tolist(),
            boxes.class_ids.tolist(),
            boxes.scores.astype(float).round(5).tolist(),
            strict=True,
        )
    ]
    size = ImageSize(width=prediction.width, height=prediction.height)
    return {"image": size, "detections": detections, "seconds": round(prediction.seconds, 6)}


def _batch_result(replica: Replica, outcome: Prediction | BaseException) -> BatchSuccess | BatchFailure:
    if isinstance(outcome, Prediction):
        return BatchSuccess(**_found(replica, outcome))
    if isinstance(outcome, RequestError):
        return BatchFailure(error=ErrorDetail(code=outcome.code, message=outcome.message))
    raise outcome


def _json(answer: BaseModel) -> Response:
    """Serialises once, in pydantic's compiled code; FastAPI would validate the answer a second time."""
    return Response(answer.model_dump_json(), media_type="application/json")
