"""What signing asks of a registry: each request is a round trip, and a delivery may take three seconds more."""

from __future__ import annotations

from pathlib import Path

from benchmarks.signing import in_a_registry
from tests.unit.images.oci_registry.registry_server import RegistryServer, serving

MOST_REQUESTS = 52
"""Of a whole delivery: at 50 ms each they take less than three seconds."""


def test_a_delivery_asks_a_registry_no_more_for_its_signatures_than_three_seconds_allow(tmp_path: Path) -> None:
    with serving(RegistryServer()) as registry:
        in_a_registry(tmp_path, registry, "1")

    assert 0 < sum(registry.asked.values()) <= MOST_REQUESTS
