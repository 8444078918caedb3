from __future__ import annotations

import pytest

from banana_delivery.images.oci_registry.reference import Repository


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("banana", "https://registry-1.docker.io/v2/library/banana"),
        ("acme/banana", "https://registry-1.docker.io/v2/acme/banana"),
        ("ghcr.io/acme/banana", "https://ghcr.io/v2/acme/banana"),
        ("localhost:5000/banana", "http://localhost:5000/v2/banana"),
        ("registry:5000/a/b", "https://registry:5000/v2/a/b"),
    ],
)
def test_names_mean_what_docker_takes_them_for(name: str, url: str) -> None:
    assert Repository.parse(name).url == url
