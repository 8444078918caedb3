"""A variable that looks like ours and that nobody reads is a slip of the finger."""

from __future__ import annotations

import pytest

from banana_delivery.delivery.upkeep.variables import unknown_variables


@pytest.mark.parametrize(
    ("name", "meant"),
    [("BANANA_PLANN", "BANANA_PLAN"), ("BANANA_NOTIFY_URL", "BANANA_NOTIFY_URLS"), ("banana_hom", "BANANA_HOME")],
)
def test_a_variable_that_nobody_reads_is_told_with_the_one_that_was_meant(name: str, meant: str) -> None:
    (sentence,) = unknown_variables({name: "demo", "BANANA_HOME": "/tmp", "PATH": "/bin"})
    assert sentence == f"{name} is no setting, so that it changes nothing; do you mean {meant}?"
