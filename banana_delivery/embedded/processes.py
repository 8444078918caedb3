"""The processes of the embedded stack beside the replicas: the router, MLflow and Dagster.

The settings as environment variables: the stack's processes are to see exactly what its starter saw.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml
from pydantic import SecretStr

from banana_delivery.bundle import INSTANCE, WORKSPACE, python_path
from banana_delivery.embedded.paths import LocalPaths
from banana_delivery.embedded.router.static import LISTENS, PORTS, listens, listens_as_before, static_configuration
from banana_delivery.embedded.router.traefik import Router
from banana_delivery.embedded.supervisor import SEEN, Program
from banana_delivery.embedded.upgrade.code_server import RUNS_LOGS
from banana_delivery.embedded.upgrade.databases import Database
from banana_delivery.embedded.upgrade.installation import MARK, mark
from banana_delivery.errors import StackError
from banana_delivery.files import write_once
from banana_delivery.model_registry.webhooks.secret import make_webhook_secret
from banana_delivery.policy import commands
from banana_delivery.settings import Settings

BIN = Path(sys.executable).parent
ROUTER = "router"
INSTANCE_MODULE = "banana_delivery.runs.instance"
"""Run as a program, not imported: it loads Dagster, which the command line does not need."""
PAGES_MODULE = "banana_delivery.delivery.page"
DEAD_MAN_MODULE = "banana_delivery.delivery.rescue.deadman"
WEBHOOKS_MODULE = "banana_delivery.model_registry.webhooks"
CODE_SERVER_MODULE = "banana_delivery.embedded.upgrade.code_server"
"""The same, all four."""
POOL_SECONDS = 120
WEBHOOK_ENVIRONMENT = {
    # By default MLflow speaks to public addresses alone, and by https; the receiver is on this machine.
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "https,http",
    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    # Seconds until it knows of a new webhook; by default a minute.
    "MLFLOW_WEBHOOK_CACHE_TTL": "1",
    "MLFLOW_WEBHOOK_REQUEST_TIMEOUT": "5",
}
"""What an MLflow server is told so that its webhooks arrive."""
INHERITED: Mapping[str, tuple[str, ...] | None] = {
    # What users reach; it knows nothing but its own files.
    ROUTER: (),
    # Its database and its artifacts lie in the home. The login is its clients'.
    "mlflow": ("MLFLOW_SERVER_*", "MLFLOW_FLASK_*", "MLFLOW_AUTH_*", "MLFLOW_LOGGING_*", "MLFLOW_SQLALCHEMYSTORE_*"),
    # Rings when MLflow says so, and asks nobody anything.
    "webhooks": ("BANANA_HOME", "BANANA_MODEL_NAME", "BANANA_WEBHOOK_*"),
    # Loads the definitions; deliveries are its children and need every setting and other programs' logins.
    "code-server": None,
    # They ask the code server, and open the instance, which may name variables of its own.
    "dagster-webserver": ("DAGSTER_*", "PG*", "BANANA_HOME", "BANANA_PAGES_*", "BANANA_DAGSTER_*", *SEEN),
    "dagster-daemon": ("DAGSTER_*", "PG*", "BANANA_HOME"),
    # Reads when the sensors ticked, and tells people.
    "dead-man": ("BANANA_HOME", "BANANA_MODEL_NAME", "BANANA_NOTIFY_URLS", "BANANA_METRICS_PORT"),
}
"""What each process inherits of the variables that the stack was started with: all for None. Replicas: nothing."""


@dataclass(frozen=True)
class ManagedProcess:
    """A part of the stack.

    Attributes:
        program: how it runs.
        url: answers with success once it is up; empty if it has no page.
        socket: accepts connections once it is up; None if it has none.
        ports: where it listens on 127.0.0.1, by the setting that chooses the port.
        prepare: writes what it needs before it starts; doing so again changes nothing.
        needed: whether the stack is not up without it.
        outlasts: whether one that runs goes on as it is, though this installation would start it in another way.
        database: what is brought to the form of this installation before it starts; None if it has none.
    """

    program: Program
    url: str = ""
    socket: Path | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    prepare: Callable[[], None] = lambda: None
    needed: bool = True
    outlasts: Callable[[], bool] = lambda: False
    database: Database | None = None


def managed_processes(settings: Settings) -> list[ManagedProcess]:
    """All but the router, in the order in which they start after it; they stop in the reverse order."""
    found = (mlflow, webhooks, code_server, dagster_webserver, dead_man, dagster_daemon)
    return [_marked(process(settings)) for process in found]


def _marked(process: ManagedProcess) -> ManagedProcess:
    """One that is started again when another version of this package lies in the folder that it was started from."""
    program = process.program
    return replace(process, program=replace(program, environment={**program.environment, MARK: mark()}))


def router(settings: Settings) -> ManagedProcess:
    """Traefik: the users' entry points, the probe's, and its own API and metrics."""
    paths = LocalPaths(settings.home)

    def prepare() -> None:
        paths.router_static.parent.mkdir(parents=True, exist_ok=True)
        paths.router_static.write_text(yaml.safe_dump(static_configuration(settings, paths)))
        Router(paths, settings.router_api_port).prepare()

    return ManagedProcess(
        program=Program(
            name=ROUTER,
            inherits=INHERITED[ROUTER],
            command=(str(BIN / "traefik"), f"--configFile={paths.router_static}"),
            directory=paths.router_static.parent,
            # It reads where to listen from a file, once; here supervisord sees that it is to listen elsewhere.
            environment={LISTENS: listens(settings)},
            priority=100,
        ),
        url=f"http://127.0.0.1:{settings.router_api_port}/api/version",
        ports={name: getattr(settings, name) for name in PORTS},
        prepare=prepare,
        # Users are being served by it. Where it listens is what people choose; the rest waits for `down` and `up`.
        outlasts=lambda: listens_as_before(settings, paths),
    )


def mlflow(settings: Settings) -> ManagedProcess:
    """The MLflow tracking server: its database and its artifacts lie in the home."""
    folder = settings.home / "mlflow"
    command = (
        str(BIN / "mlflow"),
        "server",
        f"--backend-store-uri=sqlite:///{folder / 'mlflow.db'}",
        f"--artifacts-destination={folder / 'artifacts'}",
        "--host=127.0.0.1",
        f"--port={settings.mlflow_port}",
        # Its database is SQLite: more workers would only wait for each other.
        "--workers=1",
    )
    return ManagedProcess(
        program=Program(
            name="mlflow",
            inherits=INHERITED["mlflow"],
            command=command,
            directory=folder,
            # Jobs run other people's evaluations in processes of their own; nothing here uses them.
            environment={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **WEBHOOK_ENVIRONMENT},
            files={"MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": _webhook_key(settings)},
            priority=200,
            start_seconds=3,
            whole_group=True,
        ),
        url=f"{settings.mlflow_url}/health",
        ports={"mlflow_port": settings.mlflow_port},
        prepare=lambda: _prepare_mlflow(settings),
        database=mlflow_database(settings),
    )


def webhooks(settings: Settings) -> ManagedProcess:
    """Where MLflow's webhooks arrive, and the staging sensor hears of them."""
    program = Program(
        name="webhooks",
        inherits=INHERITED["webhooks"],
        command=(sys.executable, "-m", WEBHOOKS_MODULE, "--port", str(settings.webhook_port)),
        directory=settings.home,
        priority=210,
        start_seconds=2,
    )
    return ManagedProcess(
        program=program,
        url=f"{webhook_url(settings)}/health",
        ports={"webhook_port": settings.webhook_port},
        prepare=lambda: make_webhook_secret(settings),
        needed=False,  # The sensor looks by itself.
    )


def webhook_url(settings: Settings) -> str:
    """The stack's own receiver."""
    return f"http://127.0.0.1:{settings.webhook_port}"


def code_server(settings: Settings) -> ManagedProcess:
    """The code location, loaded once for the pages and the daemon; runs are its children.

    A daemon or webserver that is killed and restarted does not take a delivery with it.
    """
    paths = LocalPaths(settings.home)
    location = yaml.safe_load(WORKSPACE.read_text())["load_from"][0]["python_module"]
    program = Program(
        name="code-server",
        inherits=INHERITED["code-server"],
        command=(
            *(sys.executable, "-m", CODE_SERVER_MODULE),
            f"--socket={paths.code_server_socket}",
            f"--module-name={location['module_name']}",
            f"--location-name={location['location_name']}",
        ),
        directory=settings.home / "dagster",
        environment={RUNS_LOGS: str(paths.runs_logs)},
        priority=250,
        start_seconds=3,
        stop_seconds=20,
        leaves_work=True,
    )

    def prepare() -> None:
        _prepare_instance(settings.home / "dagster")
        server = {"socket": str(paths.code_server_socket), "location_name": location["location_name"]}
        _workspace(settings).write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))

    return ManagedProcess(program=program, socket=paths.code_server_socket, prepare=prepare)


def dagster_webserver(settings: Settings) -> ManagedProcess:
    """Dagster's pages, behind our guard."""
    serve = (sys.executable, "-m", PAGES_MODULE, "--host", "127.0.0.1", "--port", str(settings.dagster_port))
    return ManagedProcess(
        program=_dagster(settings, "dagster-webserver", *serve, priority=300),
        url=f"{settings.dagster_url}/server_info",
        ports={"dagster_port": settings.dagster_port},
        prepare=lambda: _prepare_instance(settings.home / "dagster"),
    )


def dagster_daemon(settings: Settings) -> ManagedProcess:
    """What evaluates sensors and launches runs."""
    return ManagedProcess(
        program=_dagster(settings, "dagster-daemon", str(BIN / "dagster-daemon"), "run", priority=400),
        prepare=lambda: _prepare_daemon(settings),
        database=dagster_database(settings),
    )


def dead_man(settings: Settings) -> ManagedProcess:
    """Tells people when the sensors tick no more, which neither the daemon nor the code server could."""
    home = settings.home / "dagster"
    program = Program(
        name="dead-man",
        inherits=INHERITED["dead-man"],
        command=(sys.executable, "-m", DEAD_MAN_MODULE),
        directory=home,
        priority=350,
        start_seconds=3,
    )
    ports = {"metrics_port": settings.metrics_port} if settings.metrics_port else {}
    return ManagedProcess(program=program, ports=ports, prepare=lambda: _prepare_instance(home))


def _dagster(settings: Settings, name: str, *command: str, priority: int) -> Program:
    return Program(
        name=name,
        inherits=INHERITED[name],
        command=(*command, "--workspace", str(_workspace(settings))),
        directory=settings.home / "dagster",
        priority=priority,
        start_seconds=3,
        stop_seconds=20,
    )


def _workspace(settings: Settings) -> Path:
    return settings.home / "dagster" / "workspace.yaml"


def _prepare_instance(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(INSTANCE, folder / "dagster.yaml")


def _prepare_daemon(settings: Settings) -> None:
    _prepare_instance(settings.home / "dagster")
    dagster_database(settings).bring_forward(children_environment(settings))
    limit_delivery_pool(settings)


def dagster_database(settings: Settings) -> Database:
    """Its runs, their events and the cursors of its sensors; each run has a file of its own."""
    files = ("history/*.db", "history/runs/*.db", "schedules/*.db")
    return Database("dagster", settings.home / "dagster", files, (str(BIN / "dagster"), "instance", "migrate"))


def mlflow_database(settings: Settings) -> Database:
    """Registry and tracking."""
    folder = settings.home / "mlflow"
    upgrade = (str(BIN / "mlflow"), "db", "upgrade", f"sqlite:///{folder / 'mlflow.db'}")
    return Database("mlflow", folder, ("mlflow.db",), upgrade)


def _prepare_mlflow(settings: Settings) -> None:
    """Let its readers and its writer not block each other, which SQLite remembers; and keep the key that it cannot."""
    folder = settings.home / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    mlflow_database(settings).bring_forward(children_environment(settings))
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    write_once(_webhook_key(settings), base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())


def _webhook_key(settings: Settings) -> Path:
    """Under which it keeps webhooks' secrets; by itself it makes one at each start, and cannot read what was before."""
    return settings.home / "mlflow" / "webhooks.key"


def children_environment(settings: Settings) -> dict[str, str]:
    """The environment for supervisord and, through it, for every process of the stack."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SUPERVISOR_")}
    return {
        "MLFLOW_TRACKING_URI": settings.mlflow_url,
        **inherited,
        **settings_environment(settings),
        # This Dagster is ours alone: its sensors start by themselves, and where its pages are is known.
        variable("dagster_sensors_start"): "true",
        variable("webhook_receiver"): settings.webhook_receiver or webhook_url(settings),
        variable("dagster_public_url"): settings.pages_url or settings.dagster_url,
        "DAGSTER_HOME": str(settings.home / "dagster"),
        # The daemon is up before it knows the assets; without this it gives up a backfill that was under way.
        "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": python_path(os.environ),
        "PYTHONUNBUFFERED": "1",
    }


def settings_environment(settings: Settings) -> dict[str, str]:
    """Every setting as its ``BANANA_*`` variable, secrets included; one that is not set is left out."""
    values = {name: _plain(getattr(settings, name)) for name in type(settings).model_fields}
    return {
        variable(name): value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
        if value is not None
    }


def variable(setting: str) -> str:
    """The environment variable of a setting."""
    return f"BANANA_{setting.upper()}"


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def limit_delivery_pool(settings: Settings) -> None:
    """Let one delivery run at a time, in the embedded stack's Dagster instance; doing so again changes nothing.

    Raises:
        StackError: if the instance cannot be opened.
    """
    command, environment = [sys.executable, "-m", INSTANCE_MODULE], children_environment(settings)
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=POOL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        late = f"Dagster's instance did not open within {POOL_SECONDS} s; is this machine busy? Type again:"
        raise StackError(f"{late} {commands.up()}") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()
        raise StackError(f"Dagster's instance in {settings.home / 'dagster'} cannot be opened: {said[-1]}")
