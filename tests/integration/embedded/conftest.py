"""The local stack of the contract suite, for what only the local target promises."""

from tests.contract.conftest import local_fixture, local_stack

__all__ = ["local_fixture", "local_stack"]
