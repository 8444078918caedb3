"""The versioned response models of the API."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

SCHEMA_VERSION: Literal["1"] = "1"

_EXAMPLE_DETECTION: JsonDict = {
    "box": [12.5, 40.25, 210.0, 188.5],
    "class_id": 0,
    "class_name": "sigatoka",
    "score": 0.87,
}
_EXAMPLE_FOUND: JsonDict = {
    "image": {"width": 640, "height": 480},
    "detections": [_EXAMPLE_DETECTION],
    "seconds": 0.0121,
}
_EXAMPLE_REQUEST: JsonDict = {"schema_version": "1", "request_id": "phone-17"}
_EXAMPLE_IDENTITY: JsonDict = _EXAMPLE_REQUEST | {"model_version": "7", "digest": "sha256:" + "0a1b2c3d" * 8}
_EXAMPLE_ERROR: JsonDict = {"code": "corrupt_image", "message": "The image is empty (0 bytes)."}


class _Model(BaseModel):
    model_config = ConfigDict(protected_namespaces=(), frozen=True)


class Detection(_Model):
    """One object found in an image."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE_DETECTION})

    box: tuple[float, float, float, float] = Field(
        description="x1, y1, x2, y2 in pixels of the image as displayed (EXIF orientation applied)."
    )
    class_id: int = Field(ge=0, description="Index into the model's classes.")
    class_name: str
    score: float = Field(ge=0, le=1)


class ImageSize(_Model):
    """Size of the image as displayed, in pixels."""

    width: int = Field(ge=1)
    height: int = Field(ge=1)


class Identity(_Model):
    """What answered: every prediction can be traced to a model version and an image digest."""

    schema_version: Literal["1"] = SCHEMA_VERSION
    request_id: str
    model_version: str
    digest: str


class ImagePrediction(_Model):
    """Everything found in one image, by falling score."""

    image: ImageSize
    detections: list[Detection]
    seconds: float = Field(ge=0, description="Time the network took, in seconds.")


class PredictResponse(Identity, ImagePrediction):
    """Answer of POST /predict."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE_FOUND | _EXAMPLE_IDENTITY})


class ErrorDetail(_Model):
    """Why a request, or one image of a batch, was not answered."""

    code: str = Field(description="Stable name of the error, for programs.")
    message: str = Field(description="One sentence, for people.")


class ErrorResponse(_Model):
    """Every answer that is not a success."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE_REQUEST | {"error": _EXAMPLE_ERROR}})

    schema_version: Literal["1"] = SCHEMA_VERSION
    request_id: str
    error: ErrorDetail


class BatchSuccess(ImagePrediction):
    """One image of a batch that was answered."""

    outcome: Literal["predicted"] = "predicted"


class BatchFailure(_Model):
    """One image of a batch that could not be answered; the others are."""

    outcome: Literal["failed"] = "failed"
    error: ErrorDetail


class BatchResponse(Identity):
    """Answer of POST /predict/batch: one result for each image, in the order sent."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": _EXAMPLE_IDENTITY
            | {
                "results": [
                    _EXAMPLE_FOUND | {"outcome": "predicted"},
                    {"outcome": "failed", "error": _EXAMPLE_ERROR},
                ]
            }
        }
    )

    results: list[Annotated[BatchSuccess | BatchFailure, Field(discriminator="outcome")]]


class StatusResponse(_Model):
    """Answer of /health and /ready."""

    status: str


class ServedResponse(_Model):
    """Answer of GET /version where users ask: what every prediction says of its release, and the model's name."""

    model_name: str
    version: str
    digest: str


class VersionResponse(BaseModel):
    """Answer of GET /version for whoever runs it: version.json as it lies beside the model, and what runs it."""

    model_config = ConfigDict(protected_namespaces=(), frozen=True, extra="allow")

    model_name: str
    version: str
    mlflow_run_id: str
    source: str
    classes: list[str]
    input_size: int
    checkpoint_sha256: str
    onnx_sha256: str
    exported_with: str
    digest: str
    environment: str
    colour: str
    engine: str
    precision: str
    precision_reason: str
    device: str
    device_reason: str
    integer_instructions: str = Field(description="What this CPU has for int8 beside its older means; empty: nothing.")
