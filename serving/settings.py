"""Every environment variable the serving application reads, with its unit and default."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from serving.errors import ConfigurationError

MEBIBYTE = 1024 * 1024
Environment = Literal["staging", "production", "development"]


class Settings(BaseSettings):
    """Configuration of one replica; each field is the environment variable of the same name in capitals.

    An empty variable counts as not set.
    """

    model_config = SettingsConfigDict(
        env_ignore_empty=True, frozen=True, extra="ignore", protected_namespaces=(), hide_input_in_errors=True
    )

    model_path: Path = Field(description="The exported model.onnx; version.json lies beside it.")
    environment: Environment = "development"
    colour: Literal["blue", "green", "sole", ""] = Field("", description="Which side of a blue/green pair this is.")
    image_digest: str = Field("unknown", description="Digest of the image this process runs in (sha256:...).")

    probe_token: str = Field("", description="What the probe proves itself by; empty: its word is enough.", repr=False)

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    internal_port: int | None = Field(
        None, ge=1, le=65535, description="Metrics and what runs here answer on this port alone; empty: on PORT."
    )
    keep_alive_seconds: int = Field(75, ge=1, description="Idle connections stay open this long; exceed the router's.")
    header_seconds: float = Field(10.0, gt=0, description="A connection must finish a request's head in this time.")
    upload_seconds: float = Field(30.0, gt=0, description="A body may not pause so long: 4 KiB/s on average over it.")

    max_upload_bytes: int = Field(16 * MEBIBYTE, ge=1024, description="Largest request body.")
    max_buffered_bytes: int = Field(128 * MEBIBYTE, ge=1024, description="Bodies held at once, all requests together.")
    max_image_pixels: int = Field(25_000_000, ge=1, description="Largest image, width times height.")
    max_batch_images: int = Field(16, ge=1, le=256, description="Most images in one batch request.")

    inference_workers: int | None = Field(None, ge=1, description="Images in work at once; default: the CPU limit.")
    inference_threads: int = Field(1, ge=1, description="Threads one image may use; all but the first are shared.")
    queue_size: int = Field(16, ge=0, description="Images that may wait for a worker; the next one is answered 503.")

    stuck_seconds: float = Field(30.0, gt=0, description="Not ready after so long without a finished image.")

    pre_stop_seconds: float = Field(0.0, ge=0, description="After SIGTERM: not ready, but still accepting, this long.")
    drain_seconds: int = Field(20, ge=1, description="Then accepted requests have this long to finish.")

    database_url: str = Field("", description="SQLAlchemy URL of the prediction log; empty: no log.", repr=False)
    prediction_log_capacity: int = Field(10_000, ge=1, description="Predictions held while the database is away.")
    prediction_log_retention_days: float = Field(30.0, gt=0, description="Older rows of the log are deleted.")

    source_url: str = Field(
        "",
        pattern=r"^(https?://[^\s\"'<>]+)?$",
        description="Where the source of this service is published; empty: this replica serves its own.",
    )

    fault: str = Field("", description="Rehearsal switch that breaks /predict on purpose; see serving.faults.")

    @field_validator("internal_port")
    @classmethod
    def _is_another_port(cls, port: int | None, others: ValidationInfo) -> int | None:
        if port is not None and port == others.data.get("port"):
            raise ValueError("it is PORT; give another one, or none to have everything answer on PORT")
        return port


def load_settings() -> Settings:
    """Reads the settings from the environment.

    Raises:
        ConfigurationError: with one sentence that names every variable that is missing or wrong.
    """
    try:
        return Settings()  # type: ignore[call-arg]
    except ValidationError as error:
        problems = "; ".join(f"{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        raise ConfigurationError(f"The environment does not configure the serving application: {problems}.") from None
