"""What a person does from the command line: launching a delivery and following it to its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from banana_delivery.delivery.deciding.decisions import claimed_by
from banana_delivery.delivery.ending.ended import Ended
from banana_delivery.delivery.ending.remote import checked_server, follow, launch
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


def deliver_one(settings: Settings, version: str, asked: Asked, console: Console, wish: Wish) -> int:
    """Run a job for one version, and show what it does and how it ended.

    Returns:
        The exit code that says how; 0 if nobody waits.

    Raises:
        DagsterError: if it was not launched, or nobody can tell how it ended.
    """
    job, trigger, assets = asked
    server, location = (
        settings.dagster_url if wish.server is None else checked_server(wish.server),
        CodeLocation.of(settings),
    )
    client = DagsterClient(server, location, settings.pages_token.get_secret_value())
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
        return 0
    # From elsewhere nobody but the pages is asked, which know of runs and not of what they see.
    steps = _steps(settings, run_id) if wish.server is None else lambda: None
    with Following(console, f"Delivering version {version}", steps, say):
        ended = follow(client, run_id, version, url, say, wish.seconds)
    say(ended.sentence)
    if wish.page:
        _add(ended, wish.page, say)
    return ended.exit_code


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
) -> int:
    """Run a job for one version after the other; a parked one lets the next have its turn, any other failure ends it.

    Args:
        settings: where Dagster is, and what of it is ours.
        numbered: asks the registry for a version, which may be its latest one.
        asked: what is to run.
        versions: as they were typed.
        console: where it is shown.
        wish: how.

    Returns:
        The exit code of the first that was not released; 0 if all were.
    """
    codes = []
    for typed in versions:
        if wish.server is not None and typed == "latest":
            raise BadSettingsError("With --server, name the version by its number: no registry is asked from here.")
        version = numbered(typed) if wish.server is None else typed
        codes.append(deliver_one(settings, version, asked, console, wish))
        if codes[-1] not in {0, CONSEQUENCES[Outcome.PARKED].exit_code}:
            break
    return next((code for code in codes if code), 0)


def _add(ended: Ended, page: Path, say: Callable[[str], None]) -> None:
    """What became of a delivery counts, whether its page can be written or not."""
    try:
        ended.write(page)
    except OSError as error:
        say(f"{page} cannot be written ({error.strerror or error}); it would have said the same.")
