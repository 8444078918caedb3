"""How a set of replicas changes, and how each is started."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from banana_delivery.embedded.replicas import ReplicaSet
from banana_delivery.policy.model import Colour, Environment, ImageRef
from banana_delivery.settings import Settings

IMAGE = ImageRef(repository="tiny", digest="sha256:" + "ab" * 32, version="7", key="key")
EMPTY = ReplicaSet(environment=Environment.PRODUCTION, colour=Colour.BLUE, image=IMAGE, directory=Path("/releases/ab"))


@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_whatever_the_sizes_replicas_that_stay_are_the_ones_that_ran(sizes: list[int]) -> None:
    ports = itertools.count(18_000)
    present = EMPTY
    for size in sizes:
        resized = present.resized(size, ports)

        assert len({replica.name for replica in resized.replicas}) == len(resized.ports) == size
        assert resized.replicas[: len(present.replicas)] == present.replicas[:size]
        present = resized


def test_failed_replicas_are_replaced_under_other_names() -> None:
    present = EMPTY.resized(2, iter([1, 11, 2, 12]))
    failed = present.replicas[0].name

    resized = present.resized(2, iter([3, 13]), frozenset({failed}))

    assert failed not in {replica.name for replica in resized.replicas}
    assert present.replicas[1] in resized.replicas
    assert resized.ports == [2, 3]


def test_no_replica_gets_the_name_of_one_that_still_drains() -> None:
    draining = EMPTY.resized(1, iter([1, 11])).replicas[0].name

    assert EMPTY.resized(1, iter([2, 12]), known=frozenset({draining})).replicas[0].name != draining


def test_no_port_is_asked_for_that_is_not_needed() -> None:
    ports = iter([1, 2, 3, 4, 5])

    EMPTY.resized(2, ports)

    assert next(ports) == 5


def test_no_two_replicas_share_a_port_of_either_kind() -> None:
    resized = EMPTY.resized(3, itertools.count(18_000))

    assert len(resized.taken_ports) == 6
    assert resized.taken_ports > set(resized.ports)


def test_a_replica_from_before_there_were_internal_ports_is_started_and_read_as_it_was(tmp_path: Path) -> None:
    stored = json.loads(EMPTY.resized(1, iter([18_000, 18_001])).model_dump_json())
    del stored["replicas"][0]["internal_port"]
    earlier = ReplicaSet.read_json(json.dumps(stored))

    program = earlier.program(earlier.replicas[0], Settings(home=tmp_path))

    assert "INTERNAL_PORT" not in program.environment
    assert earlier.replicas[0].metrics_ports == (18_000,)
    assert earlier.taken_ports == {18_000}


def test_a_replica_runs_the_releases_own_code_and_knows_who_it_is(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path, serving_database_url=SecretStr("sqlite:///log.db"), drill_faults={"7": "error:rate=1"}
    )
    present = EMPTY.resized(1, iter([18_000, 18_001]))

    program = present.program(present.replicas[0], settings)

    assert program.command[1:] == ("-m", "serving")
    assert program.directory == Path("/releases/ab/app")
    assert program.environment["PYTHONPATH"] == "/releases/ab/app"
    assert program.environment["MODEL_PATH"] == "/releases/ab/model/model.onnx"
    assert program.environment["IMAGE_DIGEST"] == IMAGE.digest
    assert program.environment["DATABASE_URL"] == "sqlite:///log.db"
    assert program.environment["FAULT"] == "error:rate=1"
    assert (program.environment["HOST"], program.environment["PORT"]) == ("127.0.0.1", "18000")
    assert program.environment["INTERNAL_PORT"] == "18001"
    assert int(program.environment["DRAIN_SECONDS"]) < program.stop_seconds


def test_a_version_without_a_drill_runs_without_a_fault(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, drill_faults={"8": "error:rate=1"})
    present = EMPTY.resized(1, iter([18_000, 18_001]))

    assert present.program(present.replicas[0], settings).environment["FAULT"] == ""


def test_replicas_know_what_the_probe_proves_itself_by_and_those_of_an_earlier_version_ask_for_nothing(
    tmp_path: Path,
) -> None:
    settings, stored = Settings(home=tmp_path), json.loads(EMPTY.replace(probe_token="t0k3n").model_dump_json())
    now = ReplicaSet.read_json(json.dumps(stored)).resized(1, iter([1, 2]))
    del stored["probe_token"]
    earlier = ReplicaSet.read_json(json.dumps(stored)).resized(1, iter([1, 2]))

    told = [found.program(found.replicas[0], settings).environment["PROBE_TOKEN"] for found in (now, earlier)]
    assert told == ["t0k3n", ""]
    assert "t0k3n" not in repr(now)
