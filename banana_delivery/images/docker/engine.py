"""A Docker engine: builds, pushes, pulls and runs, with every failure as one sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO, cast

import docker
import docker.constants
import docker.errors
import requests

from banana_delivery.errors import ImageError
from banana_delivery.images.base import Progress
from banana_delivery.images.docker.credentials import Credentials
from banana_delivery.images.docker.errors import engine_errors, engine_gone, failure

_SLOWEST_ANSWER_SECONDS = 600
_OLDEST_VERSION = "1.24"


def _from_environment(version: str) -> docker.DockerClient:
    return docker.from_env(version=version, timeout=_SLOWEST_ANSWER_SECONDS)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


@dataclass(frozen=True)
class ContainerResult:
    """How a container ended.

    Attributes:
        exit_code: of its process.
        output: its standard output.
        errors: its standard error.
    """

    exit_code: int
    output: str
    errors: str


class Engine:
    """The engine that DOCKER_HOST names, or this host's; contacted when first needed.

    Args:
        network_mode: the network that builds use, for example ``host``; None for the engine's default.
        connect: makes a client for a version of the API; the default follows DOCKER_HOST, DOCKER_TLS_VERIFY and
            DOCKER_CERT_PATH.
    """

    def __init__(
        self,
        network_mode: str | None = None,
        connect: Callable[[str], docker.DockerClient] = _from_environment,
    ) -> None:
        self._network_mode = network_mode
        self._connect = connect

    @cached_property
    def api(self) -> docker.APIClient:
        """The engine's API, in the newest version that both sides speak.

        Raises:
            ImageError: if no engine answers.
        """
        with contextlib.closing(self._connect(_OLDEST_VERSION)) as probe:
            try:
                version = probe.api.version(api_version=False)["ApiVersion"]
            except (docker.errors.DockerException, requests.RequestException, OSError) as error:
                raise ImageError(
                    f"No Docker engine answers at {probe.api.base_url} ({error}); start it, set DOCKER_HOST to one "
                    "that runs, or BANANA_BUILDER=registry, which needs none."
                ) from error
        return self._connect(min(version, docker.constants.DEFAULT_DOCKER_API_VERSION, key=_numbers)).api

    def close(self) -> None:
        """Give the connections back."""
        if "api" in self.__dict__:
            self.api.close()

    @cached_property
    def platform(self) -> str:
        """What it builds for, for example ``linux/amd64``."""
        with engine_errors("asking for its version", "the engine"):
            version = self.api.version()
        return f"{version['Os']}/{version['Arch']}"

    def base_digest(self, image: str, credentials: Credentials) -> str:
        """The image by digest: as its registry has it, else as the engine has it."""
        if "@sha256:" in image:
            return image
        with contextlib.suppress(docker.errors.APIError), _alive(f"looking {image} up"):
            found = self.api.inspect_distribution(image, auth_config=credentials.for_engine)  # type: ignore[no-untyped-call]
            return f"{_untagged(image)}@{found['Descriptor']['digest']}"
        with engine_errors(f"looking the base image {image} up", image):
            local: dict[str, Any] = self.api.inspect_image(image)  # type: ignore[no-untyped-call]
        return str((local["RepoDigests"] or [local["Id"]])[0])

    def build(
        self,
        context: BinaryIO,
        progress: Progress,
        *,
        what: str,
        arguments: dict[str, str],
        no_cache: bool = False,
    ) -> str:
        """Build the last stage of a context and return the image's id.

        Raises:
            ImageError: if a step fails or the engine goes away; intermediate containers are removed.
        """
        image = ""
        with engine_errors(f"building {what}", "the engine"):
            events = self.api.build(
                fileobj=context,
                custom_context=True,
                buildargs=arguments,
                network_mode=cast(str, self._network_mode),
                nocache=no_cache,
                rm=True,
                forcerm=True,
                decode=True,
            )
            for event in cast(Iterable[dict[str, Any]], events):
                if "error" in event:
                    raise failure(f"building {what}", "the engine", event["error"])
                if line := event.get("stream", "").strip():
                    progress(line)
                image = event.get("aux", {}).get("ID", image)
        if not image:
            raise engine_gone(f"building {what}", EOFError())
        return image

    def push(self, name: str, credentials: Credentials, progress: Progress, seen: PushProgress) -> str:
        """Push ``repository:tag`` and return its digest; ``seen`` learns which layers had to be sent.

        Raises:
            ImageError: if the registry refuses or the engine goes away; ``PassingError`` if another try may help.
        """
        digest, host = "", name.split("/", 1)[0]
        with engine_errors(f"pushing {name}", host):
            events = self.api.push(name, stream=True, decode=True, auth_config=credentials.for_engine)
            for event in cast(Iterable[dict[str, Any]], events):
                if "error" in event:
                    raise failure(f"pushing {name}", host, event["error"])
                if line := seen.line(event):
                    progress(line)
                digest = event.get("aux", {}).get("Digest", digest)
        if not digest:
            raise engine_gone(f"pushing {name}", EOFError())
        return digest

    def pull(self, pinned: str, credentials: Credentials, progress: Progress) -> None:
        """Make sure that the engine has an image, by digest.

        Raises:
            ImageError: if the registry refuses or the engine goes away; ``PassingError`` if another try may help.
        """
        if self.inspect(pinned):
            return
        repository, _, digest = pinned.partition("@")
        transfer, host = PushProgress(), pinned.split("/", 1)[0]
        with engine_errors(f"pulling {pinned}", host):
            events = self.api.pull(repository, digest, stream=True, decode=True, auth_config=credentials.for_engine)
            for event in cast(Iterable[dict[str, Any]], events):
                if "error" in event:
                    raise failure(f"pulling {pinned}", host, event["error"])
                if line := transfer.line(event):
                    progress(line)

    def inspect(self, image: str) -> dict[str, Any] | None:
        """What the engine knows of an image; None if it does not have it."""
        with engine_errors(f"inspecting {image}", "the engine"):
            try:
                return cast(dict[str, Any], self.api.inspect_image(image))  # type: ignore[no-untyped-call]
            except docker.errors.ImageNotFound:
                return None

    def tag(self, image: str, repository: str, tag: str) -> None:
        """Give an image of the engine's a name."""
        with engine_errors(f"tagging {repository}:{tag}", "the engine"):
            self.api.tag(image, repository, tag)

    def remove(self, image: str) -> None:
        """Remove a name or an image, unless a container uses it; removing what is gone is fine."""
        with engine_errors(f"removing {image}", "the engine"):
            try:
                self.api.remove_image(image)
            except docker.errors.ImageNotFound:
                return
            except docker.errors.APIError as error:
                if error.status_code != requests.codes.conflict:
                    raise

    def labelled(self, label: str, value: str) -> list[dict[str, Any]]:
        """The engine's images that carry a label."""
        with engine_errors("listing images", "the engine"):
            return cast(list[dict[str, Any]], self.api.images(filters={"label": f"{label}={value}"}))

    def run(self, image: str, command: list[str], environment: dict[str, str], seconds: int) -> ContainerResult:
        """Run a command in a container that is as confined as production's, without a network, and remove it.

        Raises:
            ImageError: if it does not end in time, or the engine goes away.
        """
        what = f"running {' '.join(command)} in {image}"
        with engine_errors(what, "the engine"):
            host_config = self.api.create_host_config(
                read_only=True,
                network_mode="none",
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                tmpfs={"/tmp": ""},  # noqa: S108 -- inside the container
            )
            container = self.api.create_container(image, command, environment=environment, host_config=host_config)[
                "Id"
            ]
            try:
                self.api.start(container)
                exit_code = self.api.wait(container, timeout=seconds)["StatusCode"]
                logs = [self.api.logs(container, stdout=out, stderr=not out).decode() for out in (True, False)]
            except (requests.exceptions.Timeout, requests.exceptions.ConnectionError) as error:
                if "timed out" not in str(error).lower():
                    raise
                raise ImageError(f"Not done after {seconds} s: {what}; look for an overloaded engine.") from error
            finally:
                with contextlib.suppress(docker.errors.APIError, requests.RequestException):
                    self.api.remove_container(container, force=True)
        return ContainerResult(exit_code, *logs)


@contextlib.contextmanager
def _alive(what: str) -> Iterator[None]:
    try:
        yield
    except (requests.RequestException, OSError) as error:
        raise engine_gone(what, error) from error


def _untagged(image: str) -> str:
    name, colon, tag = image.rpartition(":")
    return name if colon and "/" not in tag else image


_DONE = {"Pushed", "Layer already exists", "Pull complete", "Already exists"}
_QUARTER = 0.25


class PushProgress:
    """Follows one push or pull.

    Attributes:
        pushed: layers that had to be sent, by the first twelve characters of their diff id.
    """

    def __init__(self) -> None:
        self.pushed: set[str] = set()
        self._said: dict[str, float] = {}

    def line(self, event: dict[str, Any]) -> str | None:
        """The line to show for an event of the engine's; None for the many that say nothing new."""
        layer, status = event.get("id", ""), event.get("status", "")
        if status == "Pushed":
            self.pushed.add(layer)
        if status in _DONE or status.startswith("Mounted from"):
            return f"{layer}: {status.lower()}"
        if status in ("Pushing", "Downloading"):
            return self._share(layer, status, event.get("progressDetail") or {})
        return None

    def _share(self, layer: str, status: str, detail: dict[str, int]) -> str | None:
        current, total = detail.get("current", 0), detail.get("total", 0)
        share = min(current / total, 1.0) if total else 0.0
        if share - self._said.get(layer, 0.0) < _QUARTER:
            return None
        self._said[layer] = share
        return f"{layer}: {status.lower()} {share:.0%} of {total / 1e6:.1f} MB"
