"""How the services are configured."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from banana_delivery.embedded.paths import LocalPaths
from banana_delivery.embedded.processes import ROUTER, ManagedProcess, code_server, limit_delivery_pool, router
from banana_delivery.errors import StackError
from banana_delivery.platforms import PLATFORMS
from banana_delivery.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def test_everything_is_to_start_in_the_order_of_its_priority_and_what_launches_work_stops_first(
    settings: Settings,
) -> None:
    services = PLATFORMS["local"].processes(settings)
    names = [service.program.name for service in services]

    assert [item.program.priority for item in services] == sorted(item.program.priority for item in services)
    assert (names[0], names[-1]) == (ROUTER, "dagster-daemon")


def test_where_kubernetes_routes_there_is_no_router_beside_it(tmp_path: Path) -> None:
    here, there = (
        [service.program.name for service in PLATFORMS[target].processes(Settings(home=tmp_path, target=target))]
        for target in ("local", "kubernetes")
    )

    assert there == [name for name in here if name != ROUTER]


def test_every_port_is_that_of_a_setting_and_of_one_service_alone(settings: Settings) -> None:
    settings = settings.model_copy(update={"metrics_port": 9105})
    ports = [item for service in PLATFORMS["local"].processes(settings) for item in service.ports.items()]

    assert len(dict(ports)) == len(ports)
    assert {name for name, _ in ports} == {
        name for name in Settings.model_fields if name.endswith("_port") and not name.startswith("kubernetes")
    }
    assert all(getattr(settings, name) == port for name, port in ports)


def test_the_router_listens_on_this_machine_alone_and_phones_nobody(settings: Settings) -> None:
    router(settings).prepare()

    static: Any = yaml.safe_load(LocalPaths(settings.home).router_static.read_text())
    assert all(point["address"].startswith("127.0.0.1:") for point in static["entryPoints"].values())
    assert static["global"] == {"checkNewVersion": False, "sendAnonymousUsage": False}


def test_preparing_the_router_again_keeps_the_weights(settings: Settings) -> None:
    service, folder = router(settings), LocalPaths(settings.home).router_dynamic
    service.prepare()
    weights = folder / "production-weights.yml"
    weights.write_text("by hand")

    service.prepare()

    assert weights.read_text() == "by hand"


def test_daemon_and_pages_share_the_code_location_of_plain_dagster_commands(settings: Settings) -> None:
    service: ManagedProcess = code_server(settings)
    service.prepare()

    workspace: Any = yaml.safe_load((settings.home / "dagster" / "workspace.yaml").read_text())
    assert workspace == {
        "load_from": [{"grpc_server": {"socket": str(service.socket), "location_name": "banana-delivery"}}]
    }
    assert "--module-name=banana_delivery.definitions" in service.program.command
    assert (settings.home / "dagster" / "dagster.yaml").exists()


def test_an_instance_that_does_not_open_in_time_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(command: list[str], **_: object) -> None:
        raise subprocess.TimeoutExpired(command, 120)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(StackError, match=r"did not open within 120 s; .*: banana-delivery up$"):
        limit_delivery_pool(Settings(home=tmp_path))
