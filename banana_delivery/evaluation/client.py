"""One request to ``/predict`` and its answer, as a client sees them. The serving side has its own schema on purpose.

A client that shared the server's code could not notice that the server broke its contract.

Who asks a release trusts the authorities of ``SSL_CERT_FILE`` where it is set (``httpx.create_ssl_context``), and asks
no proxy of the environment (``trust_env=False``): the Gateway's certificate and address may be a company's own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated

import httpx
import numpy as np
from pydantic import BaseModel, Field

from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.policy.quality.matching import Detections

PREDICT = "/predict"

Finite = Annotated[float, Field(allow_inf_nan=False)]

UNREACHED = (httpx.NetworkError, httpx.RemoteProtocolError)
"""A connection was refused or broke off, as when a router dies; one that lives answers for a replica that does not."""


class Detection(BaseModel):
    """One detected object: x1 y1 x2 y2 in pixels of the image that was sent."""

    box: tuple[Finite, Finite, Finite, Finite]
    class_id: int = Field(ge=0)
    class_name: str
    score: float = Field(ge=0, le=1, allow_inf_nan=False)


class ImageSize(BaseModel):
    """The size of the image as the model saw it, in pixels."""

    width: int = Field(gt=0)
    height: int = Field(gt=0)


class Prediction(BaseModel):
    """What ``/predict`` answers; keys that are not needed here may come and go."""

    schema_version: str
    request_id: str = Field(min_length=1)
    model_version: str = Field(min_length=1)
    digest: str = Field(min_length=1)
    image: ImageSize
    detections: list[Detection]
    seconds: float = Field(ge=0)

    def arrays(self, class_index: Mapping[str, int]) -> Detections:
        """The detections as the matching takes them; classes are told by name, so that an other order cannot confuse.

        Raises:
            KeyError: a class that ``class_index`` does not know.
        """
        return Detections(
            boxes=np.array([found.box for found in self.detections], np.float64).reshape(-1, 4),
            classes=np.array([class_index[found.class_name] for found in self.detections], np.int64),
            scores=np.array([found.score for found in self.detections], np.float64),
        )


def upload(client: httpx.Client, url: str, name: str, data: bytes, **query: float) -> httpx.Response:
    """POST one image to ``{url}/predict`` as a browser's form would.

    Raises:
        httpx.HTTPError: no answer came.
    """
    files = {"image": (name, data, "application/octet-stream")}
    return client.post(f"{url.rstrip('/')}{PREDICT}", files=files, params=query)


def timed_upload(client: httpx.Client, url: str, image: LabelledImage, **query: float) -> tuple[httpx.Response, float]:
    """The same, and how many seconds the answer took.

    Raises:
        httpx.HTTPError: if none came.
    """
    data = image.encoded  # Before the clock starts: that a disk is slow is not the service's fault.
    started = time.perf_counter()
    return upload(client, url, image.name, data, **query), time.perf_counter() - started


def is_overload(response: httpx.Response) -> bool:
    """Whether the service asks to come back later, rather than having failed."""
    return response.status_code == httpx.codes.SERVICE_UNAVAILABLE and "Retry-After" in response.headers
