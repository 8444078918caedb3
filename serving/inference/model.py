"""The model on disk: version.json, and the proof that the ONNX file is the one it describes."""

import hashlib
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from serving.errors import ConfigurationError
from serving.inference.preprocess import STRIDE, Frame


class FrameSize(BaseModel):
    """What the network takes: `Frame` says what each means."""

    model_config = ConfigDict(frozen=True, extra="allow")

    width: int = Field(ge=32, le=4096)
    height: int = Field(ge=32, le=4096)
    stride: int = Field(default=STRIDE, ge=32, le=4096)
    stretched: bool = False

    @model_validator(mode="after")
    def _in_whole_strides(self) -> Self:
        if self.width % self.stride or self.height % self.stride:
            raise ValueError("width and height must be multiples of stride")
        return self


class ModelVersion(BaseModel):
    """The contents of version.json; keys this application does not know are kept and shown."""

    model_config = ConfigDict(protected_namespaces=(), frozen=True, extra="allow")

    model_name: str
    version: str = Field(pattern="^[ -~]+$", description="Goes into a response header, so printable ASCII.")
    mlflow_run_id: str
    source: str
    classes: list[str] = Field(min_length=1)
    input_size: int = Field(ge=32, le=4096, multiple_of=32)
    checkpoint_sha256: str
    onnx_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    exported_with: str
    precision: Literal["f32", "int8"] = Field(default="f32", description="What the network computes in.")
    precision_reason: str = Field(default="", description="Why; empty in files from before there was a choice.")
    frame: FrameSize | None = Field(default=None, description="None: any frame of 32 pixels up to the square.")

    @property
    def takes(self) -> Frame:
        """What the network takes."""
        if self.frame is None:
            return Frame.square(self.input_size)
        return Frame(self.frame.width, self.frame.height, self.frame.stride, self.frame.stretched)


def read_version(model_path: Path) -> ModelVersion:
    """Reads version.json beside the model.

    Raises:
        ConfigurationError: if the file is missing or not what it must be.
    """
    path = model_path.with_name("version.json")
    try:
        return ModelVersion.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"Cannot read {path}: {error.strerror}; MODEL_PATH must lie beside it.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigurationError(f"{path} does not describe a model: {where}: {first['msg']}.") from None


def verified_bytes(model_path: Path, expected_sha256: str) -> bytes:
    """Reads the ONNX file and proves that it is the one version.json promises.

    Raises:
        ConfigurationError: if the file is unreadable or its SHA-256 differs.
    """
    try:
        content = model_path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"Cannot read the model {model_path}: {error.strerror}.") from None
    actual = hashlib.sha256(content).hexdigest()
    if actual != expected_sha256:
        raise ConfigurationError(
            f"{model_path} has SHA-256 {actual}, but version.json promises {expected_sha256}; "
            "the model was changed after its export, so build the image again."
        )
    return content
