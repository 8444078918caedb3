import httpx

from .hostile import acceptable, bombs, mutations
from .processes import RunningReplica

MUTATIONS = 520
MEMORY_LIMIT = 600 * 1024 * 1024


def test_unusual_images_are_answered(shared_replica: RunningReplica) -> None:
    with httpx.Client(base_url=shared_replica.url, timeout=30) as client:
        statuses = {name: client.post("/predict", files={"image": data}).status_code for name, data in acceptable()}
    assert {name: status for name, status in statuses.items() if status != 200} == {}


def test_bombs_are_refused_before_they_are_unpacked(shared_replica: RunningReplica) -> None:
    with httpx.Client(base_url=shared_replica.url, timeout=30) as client:
        statuses = {name: client.post("/predict", files={"image": data}).status_code for name, data in bombs()}
    assert {name: status for name, status in statuses.items() if status != 413} == {}


def test_damaged_images_get_an_answer_or_a_documented_error_in_bounded_memory(shared_replica: RunningReplica) -> None:
    with httpx.Client(base_url=shared_replica.url, timeout=30) as client:
        statuses = {
            name: client.post("/predict", files={"image": data}).status_code for name, data in mutations(MUTATIONS)
        }
    assert len(statuses) == MUTATIONS
    assert {name: status for name, status in statuses.items() if status not in {200, 413, 415, 422}} == {}
    assert {200, 422} <= set(statuses.values())
    assert shared_replica.peak_memory() < MEMORY_LIMIT
