"""What a person does from the command line: launching a delivery and following it to its end."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from banana_delivery.delivery.deciding.decisions import claimed_by
from banana_delivery.delivery.ending.ended import Ended
from banana_delivery.delivery.ending.remote import checked_server, cloud_token, follow, launch
from banana_delivery.delivery.live.following import Following, Steps, steps_of
from banana_delivery.errors import BadSettingsError, BananaDeliveryError
from banana_delivery.names import ACTOR_TAG, TRIGGER_TAG
from banana_delivery.platforms import platform
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.outcomes import CONSEQUENCES
from banana_delivery.quoting import in_ci_log
from banana_delivery.runs.client import DagsterClient
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.instance import open_instance
from banana_delivery.runs.partitions import ensure_partition
from banana_delivery.settings import Settings

LONGEST_DELIVERY_SECONDS = 3600.0
Asked = tuple[str, str, Sequence[str]]
"""The job, what triggered it, and which of its assets are wanted; none for all."""


@dataclass(frozen=True)
class Wish:
    """How somebody wants a delivery to be launched.

    Attributes:
        server: Dagster's pages, which are all that is asked; None for this machine's own stack.
        wait: whether to stay until it has ended.
        seconds: how long to stay at most.
        page: where what became of it is added, in Markdown.
    """

    server: str | None = None
    wait: bool = True
    seconds: float = LONGEST_DELIVERY_SECONDS
    page: Path | None = None


@dataclass(frozen=True)
class Launched:
    """A delivery that was started.

    Attributes:
        version: MLflow model version.
        run_id: Dagster's run.
        url: where that is seen.
        ended: how it ended; None if nobody waited.
    """

    version: str
    run_id: str
    url: str
    ended: Ended | None = None

    @property
    def exit_code(self) -> int:
        """Of the command that started it; 0 if nobody waited."""
        return self.ended.exit_code if self.ended else 0

    def json(self) -> dict[str, object]:
        """It for programs."""
        ended = self.ended.model_dump(mode="json", include={"outcome", "reason"}) if self.ended else {}
        started = {"version": self.version, "run_id": self.run_id, "url": self.url}
        return {**started, "outcome": None, "reason": "", **ended, "exit_code": self.exit_code}


def deliver_one(settings: Settings, version: str, asked: Asked, console: Console, wish: Wish) -> Launched:
    """Run a job for one version, and show what it does and how it ended.

    Raises:
        DagsterError: if it was not launched, or nobody can tell how it ended.
    """
    job, trigger, assets = asked
    server, location = (
        settings.dagster_url if wish.server is None else checked_server(wish.server),
        CodeLocation.of(settings),
    )
    cloud = "" if wish.server is None else cloud_token(server, os.environ)
    client = DagsterClient(server, location, settings.pages_token.get_secret_value(), cloud_token=cloud)
    if wish.server is None:
        with open_instance(settings) as instance:
            ensure_partition(instance, version, location)
    run_id = launch(client, job, version, {TRIGGER_TAG: trigger, ACTOR_TAG: claimed_by()}, assets)

    def say(line: str) -> None:
        # Where a line is broken it could begin with what a CI server takes for an order.
        console.print(in_ci_log(line), soft_wrap=True, markup=False, highlight=False)

    url = f"{settings.pages_url or server}/runs/{run_id}"
    say(f"Version {version}: {url}")
    if not wish.wait:
        return Launched(version, run_id, url)
    # From elsewhere nobody but the pages is asked, which know of runs and not of what they see.
    steps = _steps(settings, run_id) if wish.server is None else lambda: None
    with Following(console, f"Delivering version {version}", steps, say):
        ended = follow(client, run_id, version, url, say, wish.seconds)
    say(ended.sentence)
    if wish.page:
        _add(ended, wish.page, say)
    return Launched(version, run_id, url, ended)


def _steps(settings: Settings, run_id: str) -> Steps:
    """Where what a run is at is looked up; nowhere if that is not set up here, since the delivery is not either."""
    try:
        _, target = platform(settings).parts(settings)
    except BananaDeliveryError:
        return lambda: None
    return steps_of(target, run_id)


def deliver_all(
    settings: Settings,
    numbered: Callable[[str], str],
    asked: Asked,
    versions: Sequence[str],
    console: Console,
    wish: Wish,
) -> tuple[list[Launched], int]:
    """Run a job for one version after the other; a parked one lets the next have its turn, any other failure ends it.

    Args:
        settings: where Dagster is, and what of it is ours.
        numbered: asks the registry for a version, which may be its latest one.
        asked: what is to run.
        versions: as they were typed.
        console: where it is shown.
        wish: how.

    Returns:
        What was started, and the exit code of the first that was not released; 0 if all were.
    """
    launched: list[Launched] = []
    for typed in versions:
        launched.append(deliver_one(settings, _version(typed, numbered, wish), asked, console, wish))
        if launched[-1].exit_code not in {0, CONSEQUENCES[Outcome.PARKED].exit_code}:
            break
    return launched, next((one.exit_code for one in launched if one.exit_code), 0)


def would_deliver(
    settings: Settings, numbered: Callable[[str], str], versions: Sequence[str], wish: Wish
) -> list[tuple[str, str]]:
    """Which versions would be delivered, and by which server, as ``deliver_all`` understands what was typed."""
    server = settings.dagster_url if wish.server is None else checked_server(wish.server)
    return [(_version(typed, numbered, wish), server) for typed in versions]


def _version(typed: str, numbered: Callable[[str], str], wish: Wish) -> str:
    if wish.server is None:
        return numbered(typed)
    if typed == "latest":
        raise BadSettingsError("With --server, name the version by its number: no registry is asked from here.")
    return typed


def _add(ended: Ended, page: Path, say: Callable[[str], None]) -> None:
    """What became of a delivery counts, whether its page can be written or not."""
    try:
        ended.write(page)
    except OSError as error:
        say(f"{page} cannot be written ({error.strerror or error}); it would have said the same.")
