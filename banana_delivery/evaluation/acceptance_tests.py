"""What a running release owes its clients: one function a promise, each asking over HTTP.

Tests of a running release over HTTP, as rows of evidence: does it answer, and does it keep the service's contract?

A row that fails never ends the table: the person who reads it wants to know everything that is wrong.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
from pydantic import ValidationError

from banana_delivery.errors import AcceptanceTestFailedError
from banana_delivery.evaluation.client import UNREACHED, Detection, Prediction, upload
from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.names import DIGEST_HEADER, VERSION_HEADER
from banana_delivery.policy.asset_records import TestRow

CONCURRENT_REQUESTS = 8
BOX_TOLERANCE_PIXELS = 1.0
"""A box may leave the image by rounding, not by more."""

SCORE_TOLERANCE = 0.01

INTERNAL_PORT_CODE = "internal_port"
"""With it the serving application says that something is answered, but not where users come."""

BOMB_SIDE_PIXELS = 60_000
"""3.6 billion pixels, 10 GB when unpacked, in a file of a hundred bytes."""


@dataclass(frozen=True)
class ReleaseUnderTest:
    """The release under test.

    Attributes:
        client: that asks it; its base URL is the service.
        images: labelled images to send; at least one.
        digest: image digest that must answer.
        version: model version that must answer.
    """

    client: httpx.Client
    images: Sequence[LabelledImage]
    digest: str
    version: str

    @property
    def url(self) -> str:
        """Of the service, without a trailing slash."""
        return str(self.client.base_url).rstrip("/")


AcceptanceTest = Callable[[ReleaseUnderTest], str]
"""Returns what was seen, in a few words; raises `AcceptanceTestFailedError`."""


def _expect(response: httpx.Response, *statuses: int) -> httpx.Response:
    if response.status_code not in statuses:
        wanted = " or ".join(str(status) for status in statuses)
        raise AcceptanceTestFailedError(f"status {response.status_code} instead of {wanted}: {response.text[:160]}")
    return response


def health(release: ReleaseUnderTest) -> str:
    """It is alive."""
    _expect(release.client.get("/health"), 200)
    return "alive"


def ready(release: ReleaseUnderTest) -> str:
    """Its model is loaded and warm."""
    _expect(release.client.get("/ready"), 200)
    return "ready"


def version(release: ReleaseUnderTest) -> str:
    """It is the release that was meant."""
    answer = _expect(release.client.get("/version"), 200)
    try:
        told = answer.json()
    except ValueError as error:
        raise AcceptanceTestFailedError(f"/version is not JSON: {error}") from error
    if not isinstance(told, dict):
        raise AcceptanceTestFailedError("/version is not a JSON object")
    _same("version", told.get("version"), release.version)
    _same("digest", told.get("digest", answer.headers.get(DIGEST_HEADER)), release.digest)
    return f"version {release.version}, {release.digest[:19]}"


def _same(what: str, seen: object, wanted: str) -> None:
    if seen != wanted:
        raise AcceptanceTestFailedError(f"{what} is {seen}, but {wanted} was deployed")


def predict(release: ReleaseUnderTest) -> str:
    """It answers a labelled image by the schema."""
    image = release.images[0]
    prediction = _prediction(upload(release.client, "", image.name, image.encoded), release, image)
    return f"{len(prediction.detections)} detections, {len(image.boxes)} labelled"


def _prediction(response: httpx.Response, release: ReleaseUnderTest, image: LabelledImage) -> Prediction:
    """The answer to an image, held against the schema, the release and the image."""
    _expect(response, 200)
    try:
        prediction = Prediction.model_validate_json(response.content)
    except ValidationError as error:
        first = error.errors()[0]
        raise AcceptanceTestFailedError(f"the answer breaks the schema at {first['loc']}: {first['msg']}") from error
    _same("model_version", prediction.model_version, release.version)
    _same("digest", prediction.digest, release.digest)
    seen = (prediction.image.width, prediction.image.height)
    if seen != (image.width, image.height):
        raise AcceptanceTestFailedError(f"{image.name} was seen as {seen}, but is {(image.width, image.height)} pixels")
    return prediction


def boxes(release: ReleaseUnderTest) -> str:
    """Its boxes lie within the images, and its classes are those of the labels."""
    found = 0
    for image in release.images:
        prediction = _prediction(upload(release.client, "", image.name, image.encoded), release, image)
        for detection in prediction.detections:
            _box_fits(detection.box, image)
            if detection.class_name not in image.class_names:
                raise AcceptanceTestFailedError(
                    f"class {detection.class_name!r} is none of {', '.join(image.class_names)}"
                )
        found += len(prediction.detections)
    return f"{found} detections on {len(release.images)} images"


def _box_fits(box: tuple[float, float, float, float], image: LabelledImage) -> None:
    x1, y1, x2, y2 = box
    edge = BOX_TOLERANCE_PIXELS
    if not (-edge <= x1 <= x2 <= image.width + edge and -edge <= y1 <= y2 <= image.height + edge):
        raise AcceptanceTestFailedError(f"box {box} leaves {image.name} of {image.width} x {image.height} pixels")


def headers(release: ReleaseUnderTest) -> str:
    """Every answer names its release and request."""
    image = release.images[0]
    headers = _expect(upload(release.client, "", image.name, image.encoded), 200).headers
    _same(VERSION_HEADER, headers.get(VERSION_HEADER), release.version)
    _same(DIGEST_HEADER, headers.get(DIGEST_HEADER), release.digest)
    if not headers.get("X-Request-Id"):
        raise AcceptanceTestFailedError("the answer has no X-Request-Id")
    return f"{VERSION_HEADER}, {DIGEST_HEADER}, X-Request-Id"


def refuses(data: bytes, status: int) -> AcceptanceTest:
    """It refuses an upload with this status."""

    def test(release: ReleaseUnderTest) -> str:
        _expect(upload(release.client, "", "bad.jpg", data), status)
        return f"refused with {status}"

    return test


def corrupt(release: ReleaseUnderTest) -> str:
    """It refuses an image that is broken inside."""
    _expect(upload(release.client, "", "corrupt.jpg", BROKEN), 422)
    return "refused with 422"


def bomb() -> bytes:
    """A PNG that announces a picture far too large to unpack."""
    header = struct.pack(">IIBBBBB", BOMB_SIDE_PIXELS, BOMB_SIDE_PIXELS, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(64))), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def metrics(release: ReleaseUnderTest) -> str:
    """It counts its requests: for us, on a port that this is not, or, if it was built before that, for everybody."""
    answer = release.client.get("/metrics")
    if answer.status_code == 404 and _error_code(answer) == INTERNAL_PORT_CODE:
        return "on its internal port alone"
    if "banana_requests_total" not in _expect(answer, 200).text:
        raise AcceptanceTestFailedError("/metrics has no banana_requests_total")
    return "banana_requests_total"


def _error_code(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return ""


def concurrent(release: ReleaseUnderTest) -> str:
    """It gives the same image the same answer, many times at once."""
    image = release.images[0]
    with ThreadPoolExecutor(CONCURRENT_REQUESTS) as pool:
        futures = [
            pool.submit(upload, release.client, "", image.name, image.encoded) for _ in range(2 * CONCURRENT_REQUESTS)
        ]
        predictions = [_prediction(future.result(), release, image) for future in futures]
    first, *others = (prediction.detections for prediction in predictions)
    if not all(_alike(first, other) for other in others):
        raise AcceptanceTestFailedError("the same image, asked about at the same time, got different detections")
    if len({prediction.request_id for prediction in predictions}) < len(predictions):
        raise AcceptanceTestFailedError("two requests got the same request id")
    return f"{len(predictions)} answers alike"


def _alike(some: Sequence[Detection], others: Sequence[Detection]) -> bool:
    """Whether two answers are the same, but for the rounding of different processors."""
    return len(some) == len(others) and all(
        one.class_name == other.class_name
        and abs(one.score - other.score) <= SCORE_TOLERANCE
        and all(abs(a - b) <= BOX_TOLERANCE_PIXELS for a, b in zip(one.box, other.box, strict=True))
        for one, other in zip(some, others, strict=True)
    )


TIMEOUT_SECONDS = 15.0
BROKEN = b"\xff\xd8\xff\xe0" + bytes(64)
"""The signature of a JPEG, then nothing that a decoder could use."""
NOT_AN_IMAGE = b"This is a sentence, not a picture of a leaf."

SMOKE: tuple[tuple[str, AcceptanceTest], ...] = (
    ("is alive", health),
    ("is ready", ready),
    ("runs the release that was meant", version),
    ("predicts a labelled image", predict),
)
INTEGRATION: tuple[tuple[str, AcceptanceTest], ...] = (
    ("boxes and classes fit the images", boxes),
    ("headers name the release", headers),
    ("refuses what is not an image", refuses(NOT_AN_IMAGE, 415)),
    ("refuses a corrupt image", corrupt),
    ("refuses a decompression bomb", refuses(bomb(), 413)),
    ("answers alike under concurrency", concurrent),
    ("exposes its metrics", metrics),
)


def smoke(url: str, image: LabelledImage, expected_digest: str, expected_version: str) -> list[TestRow]:
    """The first look after a deployment: alive, ready, the release that was meant, and it predicts."""
    return _table(SMOKE, url, [image], expected_digest, expected_version)


def integration(
    url: str, images: Sequence[LabelledImage], expected_digest: str, expected_version: str
) -> list[TestRow]:
    """The service's contract: valid answers to images, the right refusals to everything else, and its metrics."""
    return _table(INTEGRATION, url, images, expected_digest, expected_version)


def _table(
    tests: Iterable[tuple[str, AcceptanceTest]], url: str, images: Sequence[LabelledImage], digest: str, version: str
) -> list[TestRow]:
    limits = httpx.Limits(max_connections=CONCURRENT_REQUESTS, max_keepalive_connections=CONCURRENT_REQUESTS)
    own = httpx.create_ssl_context()
    with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, limits=limits, trust_env=False, verify=own) as client:
        release = ReleaseUnderTest(client, images, digest, version)
        return [_run_test(name, test, release) for name, test in tests]


def _run_test(name: str, test: AcceptanceTest, release: ReleaseUnderTest) -> TestRow:
    """Run one check; no answer, or one that cannot be read, is a failed row."""
    started, unreached = time.perf_counter(), False
    try:
        passed, detail = True, test(release)
    except AcceptanceTestFailedError as failure:
        passed, detail = False, str(failure)
    except httpx.HTTPError as error:
        passed, detail = False, f"no answer: {type(error).__name__} {error}".strip()
        unreached = isinstance(error, UNREACHED)
    seconds = time.perf_counter() - started
    return TestRow(name=name, passed=passed, detail=detail, seconds=seconds, unreached=unreached)
