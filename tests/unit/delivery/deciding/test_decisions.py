"""Who decides, and what is said of where that is known from."""

from __future__ import annotations

import pytest

from banana_delivery.delivery.deciding.decisions import claimed_by, decided_by
from banana_delivery.policy.gate import CLAIMED
from banana_delivery.settings import Settings


def test_a_user_whom_the_cluster_knows_is_named_without_claiming_anything() -> None:
    assert decided_by("ada@example.com") == "ada@example.com (Kubernetes user)"


def test_who_is_known_to_nobody_claims_to_be_the_user_of_his_machine() -> None:
    assert decided_by("") == claimed_by()
    assert claimed_by().startswith(CLAIMED)


@pytest.mark.parametrize("account", ["system:serviceaccount:banana-delivery:releaser", "system:node:one"])
def test_an_account_that_no_person_has_proves_nobody(account: str) -> None:
    said = decided_by(account)

    assert said.startswith(claimed_by())
    assert account in said


def test_on_one_machine_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    from banana_delivery.platforms import platform

    monkeypatch.setenv("KUBECONFIG", "/nowhere")

    assert platform(Settings()).user(Settings()) == ""
