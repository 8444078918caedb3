"""What each process of the stack is told: a program that users reach, or that serves, knows no secret but its own."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from banana_delivery.embedded.paths import LocalPaths
from banana_delivery.embedded.processes import INHERITED, children_environment, mlflow, webhook_url, webhooks
from banana_delivery.embedded.replicas import Replica, ReplicaSet
from banana_delivery.embedded.supervisor import Program
from banana_delivery.embedded.supervisord import Daemon
from banana_delivery.files import make_private
from banana_delivery.model_registry.webhooks.secret import webhook_secret
from banana_delivery.platforms import PLATFORMS
from banana_delivery.policy.model import Colour, Environment, ImageRef
from banana_delivery.settings import Settings

FOREIGN = (
    "AWS_SECRET_ACCESS_KEY",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "KUBECONFIG",
    "GITHUB_TOKEN",
    "ANYTHING_ELSE",
    "BANANA_REGISTRY_PASSWORD_FILE",
)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in FOREIGN:
        monkeypatch.setenv(name, f"canary {name}")
    monkeypatch.setenv("SUPERVISOR_ENABLED", "1")
    settings = Settings(
        home=tmp_path,
        registry_password=SecretStr("canary of the registry"),
        notify_urls=[SecretStr("json://canary@channel")],
        serving_database_url=SecretStr("sqlite:///canary-of-the-database"),
        evidence_key_file=tmp_path / "canary-of-the-evidence",
    )
    mlflow(settings).prepare()
    return settings


def told(program: Program, settings: Settings, logs: Path) -> str:
    """What the program sees, started as supervisord would start it."""
    _, _, rest = program.render(logs).partition("\ncommand=")
    import shlex

    command = shlex.split(rest.partition("\n")[0].replace("%%", "%"))
    wrapper = command[: len(command) - len(program.command)]
    environment = {**children_environment(settings), "SUPERVISOR_SERVER_URL": "unix://mark", **program.environment}
    return subprocess.run(
        [*wrapper, "/usr/bin/env"], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_every_process_stands_in_the_table(settings: Settings) -> None:
    assert {service.program.name for service in PLATFORMS["local"].processes(settings)} == set(INHERITED)


def test_only_the_code_server_knows_the_secrets_and_the_dead_man_his_channels(
    settings: Settings, tmp_path: Path
) -> None:
    seen = {
        service.program.name: told(service.program, settings, tmp_path)
        for service in PLATFORMS["local"].processes(settings)
    }
    assert [name for name, said in seen.items() if "canary" in said] == ["code-server", "dead-man"]
    told_to_dead_man = [line for line in seen["dead-man"].splitlines() if "canary" in line]
    assert [line.partition("=")[0] for line in told_to_dead_man] == ["BANANA_NOTIFY_URLS"]
    assert all("SUPERVISOR_SERVER_URL=unix://mark" in said for said in seen.values()), "by it orphans are found"
    assert all(f"PATH={Path(children_environment(settings)['PATH'])}" in said for said in seen.values())
    assert f"DAGSTER_HOME={tmp_path / 'dagster'}" in seen["dagster-daemon"]
    assert "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false" in seen["mlflow"]


def test_the_secret_of_webhooks_is_known_where_they_are_received_and_heard_of(
    settings: Settings, tmp_path: Path
) -> None:
    told_so = settings.model_copy(update={"webhook_secret": SecretStr("bell-canary"), "model_name": "bananas"})
    services = {service.program.name: service for service in PLATFORMS["local"].processes(told_so)}
    seen = {name: told(service.program, told_so, tmp_path) for name, service in services.items()}
    assert [name for name, said in seen.items() if "bell-canary" in said] == ["webhooks", "code-server"]
    assert "BANANA_MODEL_NAME=bananas" in seen["webhooks"]
    assert f"BANANA_WEBHOOK_RECEIVER={webhook_url(told_so)}" in seen["code-server"]


def test_mlflow_finds_the_key_of_what_it_keeps_and_nobody_else_is_told_it(settings: Settings, tmp_path: Path) -> None:
    def key() -> str:
        (line,) = [line for line in told(program, settings, tmp_path).splitlines() if "ENCRYPTION_KEY" in line]
        return line.partition("=")[2]

    program = mlflow(settings).program
    first = key()
    Fernet(first)  # Which refuses what is none.
    mlflow(settings).prepare()
    assert key() == first, "what MLflow kept before it was started again could not be read"
    assert first not in program.render(tmp_path)
    assert first not in str(children_environment(settings))


def test_the_receiver_finds_the_secret_that_was_made_for_it(settings: Settings) -> None:
    webhooks(settings).prepare()
    made = webhook_secret(settings)
    webhooks(settings).prepare()
    assert webhook_secret(settings) == made


def test_a_replica_knows_the_database_of_its_log_and_no_other_secret(settings: Settings, tmp_path: Path) -> None:
    replicas = ReplicaSet(
        environment=Environment.PRODUCTION,
        colour=Colour.BLUE,
        image=ImageRef(repository="r", version="3", key="k", digest="sha256:" + "0" * 64),
        directory=tmp_path,
        replicas=(Replica(name="production-blue-0", port=18_000),),
    )
    said = told(replicas.program(replicas.replicas[0], settings), settings, tmp_path)
    assert [line.partition("=")[0] for line in said.splitlines() if "canary" in line] == ["DATABASE_URL"]


@pytest.mark.parametrize("existing", [None, 0o755, 0o777])
def test_the_home_and_what_is_written_in_it_is_for_its_owner_alone(tmp_path: Path, existing: int | None) -> None:
    home, before = tmp_path / "home", __import__("os").umask(0o022)
    try:
        if existing:
            home.mkdir()
            home.chmod(existing)
        make_private(home)
        (home / "file").write_text("x")
    finally:
        __import__("os").umask(before)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "file").stat().st_mode) == 0o600


def test_supervisord_lets_nobody_else_read_what_its_processes_write(settings: Settings) -> None:
    assert "\numask=077\n" in Daemon(settings)._configuration()
    Daemon(settings)._make_folders()
    assert stat.S_IMODE(LocalPaths(settings.home).home.stat().st_mode) == 0o700
