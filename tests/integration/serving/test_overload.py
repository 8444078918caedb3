"""A replica that is asked for ten times what it can do."""

import asyncio
from collections.abc import Iterator

import pytest

from benchmarks.serving_overload import SECONDS, TIMES, as_many_as_fit, at_a_rate, slowest
from tests.integration.serving.processes import RunningReplica, replica
from tests.unit.serving.images import encode, picture

pytestmark = pytest.mark.long
PLACES = 4
"""One worker and three that wait."""


@pytest.fixture(scope="module")
def small_replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningReplica]:
    with replica(tmp_path_factory.mktemp("model"), QUEUE_SIZE=str(PLACES - 1)) as running:
        yield running


def test_at_ten_times_capacity_what_is_accepted_takes_no_longer_and_the_rest_is_told_when_to_come_back(
    small_replica: RunningReplica,
) -> None:
    image = encode(picture(4000, 3000), "PNG")
    full = asyncio.run(as_many_as_fit(small_replica.url, image, PLACES))
    assert {answer.status for answer in full} == {200}

    flood = asyncio.run(at_a_rate(small_replica.url, image, TIMES * len(full) / SECONDS))

    refused = [answer for answer in flood if answer.status == 503]
    assert {answer.status for answer in flood} == {200, 503}
    assert all(answer.retry_after is not None and int(answer.retry_after) >= 1 for answer in refused)
    assert len(flood) - len(refused) >= len(full) / 2
    assert slowest(flood, 200) <= 2 * slowest(full, 200)
    assert slowest(flood, 503) <= slowest(full, 200)
