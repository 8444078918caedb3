"""Places that are expensive to set up, shared by the contract's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.local_fixture import LocalFixture


@pytest.fixture(scope="session")
def local_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFixture]:
    """The router under supervisord, up for all tests."""
    fixture = LocalFixture(tmp_path_factory.mktemp("home"))
    fixture.stack.up(print)
    yield fixture
    fixture.stack.down(print)


@pytest.fixture
def local_fixture(local_stack: LocalFixture) -> Iterator[LocalFixture]:
    """The local target as if it had never been used."""
    local_stack.reset()
    yield local_stack
