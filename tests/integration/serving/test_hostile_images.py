from collections.abc import Iterable
from itertools import islice

import httpx
import pytest

from serving.http.schemas import BatchResponse

from .hostile import acceptable, bombs, mutations
from .processes import RunningReplica

MUTATIONS = 520
MEMORY_LIMIT = 600 * 1024 * 1024


PATHS = pytest.mark.parametrize("path", ["/predict", "/predict/annotated"])


def statuses_of(running: RunningReplica, path: str, images: Iterable[tuple[str, bytes]]) -> dict[str, int]:
    with httpx.Client(base_url=running.url, timeout=30) as client:
        return {name: client.post(path, files={"image": data}).status_code for name, data in images}


@PATHS
def test_unusual_images_are_answered(shared_replica: RunningReplica, path: str) -> None:
    statuses = statuses_of(shared_replica, path, acceptable())
    assert {name: status for name, status in statuses.items() if status != 200} == {}


@PATHS
def test_bombs_are_refused_before_they_are_unpacked(shared_replica: RunningReplica, path: str) -> None:
    statuses = statuses_of(shared_replica, path, bombs())
    assert {name: status for name, status in statuses.items() if status != 413} == {}


@PATHS
def test_damaged_images_get_an_answer_or_a_documented_error_in_bounded_memory(
    shared_replica: RunningReplica, path: str
) -> None:
    statuses = statuses_of(shared_replica, path, mutations(MUTATIONS))
    assert len(statuses) == MUTATIONS
    assert {name: status for name, status in statuses.items() if status not in {200, 413, 415, 422}} == {}
    assert {200, 422} <= set(statuses.values())
    assert shared_replica.peak_memory() < MEMORY_LIMIT


def test_each_image_of_a_mixed_batch_gets_what_it_would_get_alone(shared_replica: RunningReplica) -> None:
    mixed = [*islice(acceptable(), 4), *islice(bombs(), 4), *mutations(7), ("text", b"not an image at all")]
    alone = statuses_of(shared_replica, "/predict", mixed)
    files = [("images", data) for _, data in mixed]
    answer = httpx.post(f"{shared_replica.url}/predict/batch", files=files, timeout=30)
    results = BatchResponse.model_validate_json(answer.content).results
    status_of = {"corrupt_image": 422, "too_large": 413, "unsupported_media_type": 415}
    statuses = [200 if result.outcome == "predicted" else status_of[result.error.code] for result in results]
    assert dict(zip(alone, statuses, strict=True)) == alone
    assert set(statuses) == {200, 413, 415, 422}
