from __future__ import annotations

import pytest

from banana_delivery.delivery.ending.remote import cloud_token
from banana_delivery.errors import BadSettingsError

SET = {"DAGSTER_CLOUD_API_TOKEN": "user:secret\n"}
OWN = {**SET, "DAGSTER_CLOUD_URL": "https://dagster.example.com/prod"}


@pytest.mark.parametrize(
    ("server", "environment"),
    [
        ("https://acme.dagster.cloud/prod", SET),
        ("https://acme.eu.dagster.cloud/prod", SET),
        ("https://dagster.example.com/prod", OWN),
    ],
)
def test_the_token_goes_to_dagsters_own_hosts_and_to_the_one_that_is_named(
    server: str, environment: dict[str, str]
) -> None:
    assert cloud_token(server, environment) == "user:secret"


@pytest.mark.parametrize(
    "server",
    [
        "https://dagster.example.org",
        "https://acme.dagster.cloud.example.org/prod",
        "https://notdagster.cloud/prod",
        "https://dagster.example.com:8443/prod",
        "http://dagster.example.com/prod",
    ],
)
def test_nobody_else_gets_it(server: str) -> None:
    assert cloud_token(server, OWN) == ""


@pytest.mark.parametrize(
    ("server", "environment", "says"),
    [
        ("http://acme.dagster.cloud/prod", SET, "write https://acme.dagster.cloud"),
        ("https://acme.dagster.cloud/prod", {}, "wants a token"),
        ("https://acme.dagster.cloud/prod", {"DAGSTER_CLOUD_API_TOKEN": "a\nsecret"}, "no token"),
    ],
)
def test_what_cannot_be_sent_safely_is_refused_and_not_shown(
    server: str, environment: dict[str, str], says: str
) -> None:
    with pytest.raises(BadSettingsError, match=says) as raised:
        cloud_token(server, environment)
    assert "secret" not in str(raised.value)
