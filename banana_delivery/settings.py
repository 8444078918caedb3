"""Every setting: its variable, default and unit. Nothing else reads the environment.

Each field ``name`` is the environment variable ``BANANA_NAME``.
"""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import SettingsError

from banana_delivery.bundle import CHECKOUT
from banana_delivery.errors import hide
from banana_delivery.ports import offset, port
from banana_delivery.secrecy import quiet_logs, secrets_of
from banana_delivery.setting_errors import no_json, unusable
from banana_delivery.setting_groups.signatures import SignatureSettings
from banana_delivery.waiting import gateway_duration

MOST_REPLICAS = 1000
"""Of a colour on one machine; more is a slip of the finger."""
POLICY_NAMES = ("standard", "seed", "demo")
"""The release policies that come with the product."""

FILES_THAT_MAY_BE = (
    "evidence_key_file", "webhook_secret_file", "pages_key_file", "model_signing_public_key", "cosign_key",
    "cosign_public_key", "cosign_identity_token", "cosign_certificate_chain", "cosign_timestamp_chain",
    "cosign_ct_keys",
)  # fmt: skip


def default_home(checkout: Path | None = CHECKOUT) -> Path:
    """``.banana`` in the checkout, or the user's data folder where the product was installed without one."""
    return checkout / ".banana" if checkout else user_data_path("banana-delivery", appauthor=False)


class Settings(SignatureSettings):
    """The product's settings, read once per process."""

    home: Path = Field(
        default_factory=default_home,
        description="Everything the embedded stack keeps.",
        json_schema_extra={"default": "`.banana` in the checkout; without one `~/.local/share/banana-delivery`"},
    )
    target: Literal["local", "kubernetes"] = Field(default="local", description="Where releases run.")
    model_name: str = Field(default="banana_sigatoka_detector", description="Registered model in MLflow.")
    artifact_roots: list[str] = Field(
        default=[],
        description="Addresses below which sources of versions may lie beside MLflow's own artifacts, as JSON.",
    )
    export_seconds: float = Field(default=3600.0, gt=0, description="What exporting, or comparing, may take at most.")
    precision: Literal["f32", "int8", "auto"] = Field(
        default="f32",
        description="What networks compute in; `auto`: int8 where it is shown to lose nothing that counts.",
    )

    # The embedded stack's ports, all on 127.0.0.1.
    port_offset: int = offset()
    dagster_port: int = port(3000, "Dagster's pages.")
    mlflow_port: int = port(5001, "The MLflow server.")
    production_port: int = port(8080, "Where users reach production.")
    staging_port: int = port(8081, "Where staging answers.")
    probe_port: int = port(8082, "The router's internal routes to one colour.")
    router_api_port: int = port(8083, "The router's own API and metrics.")
    webhook_port: int = port(8084, "Where MLflow's webhooks arrive.")
    metrics_port: int | None = Field(default=None, ge=1, le=65535, description="Where monitoring asks; closed without.")
    traces_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s@]+)?$",
        description="Where a collector of OpenTelemetry takes traces, for example `http://collector:4318/v1/traces`; "
        "empty: none are sent.",
    )
    replica_port_base: int = port(18000, "First port tried for a replica.", least=1024, most=65000)

    # MLflow's webhooks, which have the staging sensor look at once.
    webhook_receiver: str = Field(
        default="", pattern=r"^(https?://\S+)?$", description="Where the sensor hears of them; empty: nowhere."
    )
    webhook_secret: SecretStr = Field(default=SecretStr(""), description="MLflow signs with it; empty: see the next.")
    webhook_secret_file: Path | None = Field(default=None, description="File that holds it; empty: made by `up`.")

    # Dagster, where it is not the embedded stack's own.
    dagster_host: str = Field(default="127.0.0.1", description="Where the command line finds Dagster's pages.")
    dagster_public_url: str = Field(
        default="",
        description="Where people find them, for links; empty: no links. `banana-delivery up` knows its own.",
    )
    dagster_location: str = Field(
        default="banana-delivery", min_length=1, description="Our code location, as the workspace calls it."
    )
    dagster_prefix: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9_]+(/[A-Za-z0-9_]+)*)?$",
        description="What comes before all asset keys and the partitions' name, for example `team/bananas`.",
    )
    dagster_pool: str = Field(
        default="delivery", min_length=1, description="Pool that deliveries wait in; its limit has to be 1."
    )
    dagster_sensors_start: bool = Field(
        default=False, description="Whether the sensors start by themselves; `banana-delivery up` has them do so."
    )

    # Who may ask Dagster's pages for what.
    pages_hosts: list[str] = Field(
        default=[],
        description="Names by which people reach the pages, beside localhost, BANANA_DAGSTER_HOST and the host of "
        "BANANA_DAGSTER_PUBLIC_URL, as JSON.",
    )
    pages_read_only: bool = Field(default=False, description="Whether the pages only show.")
    pages_edit_history: bool = Field(
        default=False,
        description="Whether the pages may report, wipe and delete what Dagster holds, which is what gates go by.",
    )
    pages_login_header: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9-]*$",
        description="Header in which a proxy names who asks, for example `X-Forwarded-User`; empty: nobody is asked.",
    )
    pages_proxies: list[str] = Field(
        default=[],
        validate_default=True,
        description="Addresses or networks of the proxies whose login header is believed, as JSON.",
    )
    pages_token: SecretStr = Field(default=SecretStr(""), description="By which the command line passes that login.")
    pages_deciders: list[str] = Field(
        default=[],
        description="Who may decide by buttons on `/delivery`, as that header names them, as JSON; `*`: all whom it "
        "names; empty: nobody.",
    )
    pages_key_file: Path | None = Field(default=None, description="Keys that sign what is asked there; empty: made.")

    # Releases.
    staging_replicas: int = Field(default=1, ge=1, le=MOST_REPLICAS, description="Replicas of the embedded staging.")
    production_replicas: int = Field(default=2, ge=1, le=MOST_REPLICAS, description="Replicas of an embedded colour.")
    policy: str = Field(
        default="",
        description="Release policy: `standard`, `seed`, `demo`, or the path of a [file](release-policy.md); empty: "
        "what BANANA_PLAN names.",
    )
    plan: Literal["standard", "seed", "demo"] = Field(default="standard", description="Earlier name of BANANA_POLICY.")
    heartbeat_seconds: float = Field(default=2.0, gt=0, description="How often an owner shows that it lives.")
    stale_after_seconds: float = Field(default=20.0, gt=0, description="An owner seen silent for so long is dead.")
    rival_wait_seconds: float | None = Field(
        default=None, ge=0, description="How long a delivery waits for somebody else's; empty: as long as one may take."
    )
    ready_timeout_seconds: float = Field(default=120.0, gt=0, description="Deadline for replicas to answer.")
    warm_seconds: float = Field(
        default=1800.0, ge=0, description="How long the replaced colour stays at full strength."
    )
    staging_idle_seconds: float | None = Field(
        default=None, ge=60, description="Staging is scaled to nothing after so long without a delivery; empty: never."
    )
    freeze: bool = Field(default=False, description="A freeze window: deliveries are parked before production.")
    rebuild_missing: bool = Field(
        default=False,
        description="Build a redeploy's image again if it is gone and what went into it is still the same.",
    )
    keep_versions: int = Field(default=10, ge=1, description="Images kept whatever happens.")
    rollback_window_days: float = Field(default=30.0, ge=0, description="What served in so many days keeps its image.")
    keep_reports: int = Field(
        default=200, ge=1, description="Reports of attempts, and outputs of runs in the embedded stack, that are kept."
    )
    least_free_gib: float = Field(
        default=2.0,
        ge=0,
        description="People are told when less is free in `BANANA_HOME`, or less than five deliveries take; GiB.",
    )
    serving_database_url: SecretStr = Field(default=SecretStr(""), description="Prediction log of the replicas.")
    drill_faults: dict[str, str] = Field(
        default={}, description="Rehearsals: model version to serving FAULT switch, as JSON. Empty in earnest."
    )

    # Kubernetes.
    kubernetes_staging_context: str = Field(
        default="", description="Context of the kubeconfig; empty: the cluster we run in, or the current one."
    )
    kubernetes_production_context: str = Field(default="", description="The same for production.")
    kubernetes_staging_namespace: str = Field(default="staging", description="Namespace of staging.")
    kubernetes_production_namespace: str = Field(default="production", description="Namespace of production.")
    kubernetes_routing: Literal["gateway", "endpoints"] = Field(
        default="gateway", description="Who splits production's traffic: a Gateway, or the endpoints of one Service."
    )
    kubernetes_route_timeout_seconds: float = Field(
        default=10.0, ge=0, description="After which the Gateway answers 504, where it can; 0: never."
    )
    kubernetes_gateway_replicas: int = Field(
        default=5,
        ge=1,
        le=50,
        description="How many pods the Gateway has at most; a change of weights is confirmed until each was asked.",
    )
    kubernetes_prometheus_url: str = Field(
        default="", description="Prometheus that scrapes the Gateway; its figures come first."
    )
    kubernetes_prometheus_queries: dict[str, str] = Field(
        default={}, description="PromQL by name (requests, gave_up, started), as JSON; empty: Traefik's."
    )
    kubernetes_router_metrics_url: str = Field(
        default="", description="Traefik's metrics page, used without Prometheus; empty: the replicas' own figures."
    )
    export_template: str = Field(
        default="",
        description="PodTemplate, in the delivery's own namespace, of the Job that exports; empty: its own pod does.",
    )
    publisher_template: str = Field(
        default="",
        description="The same of the Job that writes into the registry, whose login and key the delivery then needs no "
        "more; with `BANANA_BUILDER=registry`.",
    )

    # What a team measures itself.
    metric_tokens: dict[str, SecretStr] = Field(
        default={},
        description="By the address of a metric in the release policy, what is shown there: a bearer token, or "
        "`user:password`; as JSON.",
    )

    # Images.
    registry_repository: str = Field(default="", description="Where releases are pushed, host/path without a tag.")
    registry_username: str = Field(default="", description="Login there; empty: what docker login left.")
    registry_password: SecretStr = Field(default=SecretStr(""), description="Its password or access token.")
    registry_token_hosts: list[str] = Field(
        default=[],
        description="Hosts beside the registry's own that may issue its tokens and so see the login, as JSON.",
    )
    base_image: str = Field(default="python:3.11-slim", description="What the runtime image is built on.")
    serving_device: Literal["cpu", "cuda"] = Field(
        default="cpu", description="What images are built for; cuda: NVIDIA GPUs, with the CPU where there is none."
    )
    source_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s\"'<>]+)?$",
        description="Where you publish your source, for /docs and labels of images; empty: replicas serve theirs.",
    )
    builder: Literal["docker", "registry"] = Field(
        default="docker",
        description="How images get into the registry: a Docker engine builds and pushes, or they are written there "
        "without one.",
    )
    platforms: str = Field(
        default="",
        description="What BANANA_BUILDER=registry writes images for, linux/amd64,linux/arm64 for example: several are "
        "one index; empty: the platform of the pipeline's host alone.",
    )
    build_network: str = Field(default="", description="Network of builds, for example host; empty: the engine's own.")
    osv_url: str = Field(
        default="",
        description="Query address of an OSV vulnerability database, for example a mirror of yours; empty: the package "
        "index's own, and OSV's for the operating system.",
    )
    unaudited: Literal["warn", "reject"] = Field(
        default="warn", description="What happens to an image that the database could not be asked about."
    )
    accepted_vulnerabilities: list[str] = Field(default=[], description="Ids or aliases that do not block a release.")

    # Evidence.
    evidence_key_file: Path | None = Field(
        default=None,
        description="Keys that sign records, one a line in hexadecimal form, the first signs; empty: made in the home.",
    )
    decision_hours: float = Field(default=72.0, gt=0, description="How long an approval or an override counts.")
    registry_decisions: list[Literal["approve", "reject", "override"]] = Field(
        default=["reject"], description="What a tag beside a staged version in MLflow may decide, as JSON."
    )
    holdout: Path | None = Field(
        default=None,
        description="Labelled images: folder of a YOLO dataset, COCO JSON with its images, or a labels.json; the file "
        "that describes them will do, and `#val` after it chooses a split. Empty: generated.",
    )
    holdout_split: str = Field(
        default="", description="Split of it that judges; empty: `test`, where none is there `val`, and never `train`."
    )
    holdout_images: int = Field(
        default=1000, ge=100, description="Labelled images to generate; with fewer, smaller losses are missed."
    )
    minimum_map50: float = Field(default=0.5, ge=0, le=1, description="What every release must reach.")

    # People.
    notify_urls: list[SecretStr] = Field(default=[], description="Apprise URLs as JSON; before one, its audience.")

    @field_validator(*FILES_THAT_MAY_BE, mode="before")
    @classmethod
    def _none_if_empty(cls, value: object) -> object:
        return value or None

    @field_validator("home", "holdout", *FILES_THAT_MAY_BE)
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path.expanduser().resolve() if path else path

    @field_validator("policy")
    @classmethod
    def _name_or_absolute(cls, policy: str) -> str:
        if not policy.strip() or policy in POLICY_NAMES:
            return policy.strip()
        try:
            return str(Path(policy).expanduser().resolve())
        except (OSError, RuntimeError):
            return policy  # Whoever reads it says so; a rollback reads none.

    @field_validator("kubernetes_route_timeout_seconds")
    @classmethod
    def _expressible(cls, seconds: float) -> float:
        gateway_duration(seconds)
        return seconds

    @field_validator("pages_proxies", "pages_deciders")
    @classmethod
    def _named(cls, named: list[str], info: ValidationInfo) -> list[str]:
        header, proxies = info.data.get("pages_login_header"), named if info.field_name == "pages_proxies" else []
        for proxy in proxies:
            ip_network(proxy)
        if header and not named and info.field_name == "pages_proxies":
            raise ValueError("BANANA_PAGES_LOGIN_HEADER is set, and anybody could send it: name who may")
        if named and not header and info.field_name == "pages_deciders":
            raise ValueError("BANANA_PAGES_LOGIN_HEADER is not set, so nobody says who asks")
        return named

    @field_validator("platforms")
    @classmethod
    def _with_wheels(cls, platforms: str) -> str:
        if {name.strip() for name in platforms.split(",")} - {"linux/amd64", "linux/arm64", ""}:
            raise ValueError("name linux/amd64, linux/arm64, or both with a comma between")
        return platforms

    @property
    def policy_source(self) -> str:
        """The release policy that counts: a name of ``POLICY_NAMES``, or an absolute path."""
        return self.policy or self.plan

    @property
    def image_platforms(self) -> tuple[str, ...]:
        """What images are written for, each once and in one order; empty: the platform of the pipeline's host."""
        return tuple(sorted({name.strip() for name in self.platforms.split(",")} - {""}))

    @property
    def mlflow_url(self) -> str:
        """Where the embedded MLflow answers; a server elsewhere is named by MLFLOW_TRACKING_URI."""
        return f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def dagster_url(self) -> str:
        """Where this process reaches the Dagster pages."""
        return f"http://{self.dagster_host}:{self.dagster_port}"

    @property
    def pages_url(self) -> str:
        """Where people reach the Dagster pages; empty if that is not known, since a wrong link is worse than none."""
        return self.dagster_public_url.rstrip("/")


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        BadSettingsError: if a variable has a value that cannot be used.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        raise unusable(error, Settings.model_fields) from None
    except SettingsError as error:
        raise no_json(str(error), Settings.model_fields) from None
    hide(secrets_of(settings))
    quiet_logs()
    return settings
