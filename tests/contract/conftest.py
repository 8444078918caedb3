"""Places that are expensive to set up, shared by the contract's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.local_fixture import LocalBench


@pytest.fixture(scope="session")
def local_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBench]:
    """The router under supervisord, up for all tests."""
    bench = LocalBench(tmp_path_factory.mktemp("home"))
    bench.stack.up(print)
    yield bench
    bench.stack.down(print)


@pytest.fixture
def local_bench(local_stack: LocalBench) -> Iterator[LocalBench]:
    """The local target as if it had never been used."""
    local_stack.reset()
    yield local_stack
