"""A delivery from a machine that has nothing of the pipeline but this package: Dagster's pages are all that is asked.

The asking may fail at any moment, and the delivery goes on without it. So a launch whose answer was lost is looked for
before it is called a failure, and whoever waits is patient with pages that are away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from urllib.parse import urlsplit
from uuid import uuid4

from banana_delivery.delivery.ending.ended import Ended
from banana_delivery.errors import BadSettingsError, DagsterError
from banana_delivery.names import REQUEST_TAG
from banana_delivery.policy.model import Outcome
from banana_delivery.runs.client import FINISHED, DagsterClient
from banana_delivery.waiting import SYSTEM_CLOCK, Clock, Deadline, retry, wait_until

Say = Callable[[str], None]
LOOK_SECONDS = 2.0
AWAY_SECONDS = 300.0
"""How long the pages may be away while somebody waits: a restart, a node that is drained, a network."""
LOGGED_SECONDS = 90.0
"""How long after a run its line may take: of one that no longer could, a sensor writes it within half a minute."""
_CLOUD_HOST = "dagster.cloud"
_CLOUD_URL = "DAGSTER_CLOUD_URL"
_CLOUD_TOKEN = "DAGSTER_CLOUD_API_TOKEN"  # noqa: S105 -- the name of a variable
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
WORDS = {"IN_PROGRESS": "begins", "SUCCESS": "done", "FAILURE": "failed", "SKIPPED": "skipped"}


def checked_server(url: str) -> str:
    """The address of the pages, as it is asked and shown.

    Raises:
        BadSettingsError: if it is none, or holds a login, which would be shown to whoever reads the log.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise BadSettingsError("--server wants the address of Dagster's pages, such as https://dagster.example.com.")
    if "@" in parts.netloc:
        raise BadSettingsError("--server must not hold a login; put the pages' token into BANANA_PAGES_TOKEN.")
    return url.rstrip("/")


def cloud_token(server: str, environment: Mapping[str, str]) -> str:
    """Dagster+'s token for an address; empty if that is none of Dagster+'s.

    It goes to Dagster+'s own hosts, to the one that ``DAGSTER_CLOUD_URL`` names, and to nobody else.

    Args:
        server: the address of the pages.
        environment: with the variables that Dagster+'s own command line reads.

    Raises:
        BadSettingsError: if others could read it on its way, or it is none.
    """
    parts, own = urlsplit(server), urlsplit(environment.get(_CLOUD_URL, ""))
    token, host = environment.get(_CLOUD_TOKEN, "").strip(), parts.hostname or ""
    is_cloud = host == _CLOUD_HOST or host.endswith(f".{_CLOUD_HOST}")
    is_named = bool(own.hostname) and (own.scheme, own.netloc) == (parts.scheme, parts.netloc)
    if not (is_cloud or is_named):
        return ""
    if not token:
        raise BadSettingsError(f"{host} is Dagster+ and wants a token; set {_CLOUD_TOKEN}.")
    if parts.scheme != "https" and host not in _LOOPBACK:
        raise BadSettingsError(f"{_CLOUD_TOKEN} is sent to no address that begins with http://; write https://{host}.")
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise BadSettingsError(f"{_CLOUD_TOKEN} holds something that is no token; copy it once more.")
    return token


def launch(
    client: DagsterClient,
    job: str,
    version: str,
    tags: Mapping[str, str],
    assets: Sequence[str] = (),
    clock: Clock = SYSTEM_CLOCK,
) -> str:
    """Launch a delivery once, also where the answer to that gets lost.

    Returns:
        The run id.

    Raises:
        DagsterError: if none was launched, or nobody can tell.
    """
    client.add_partition(version)
    request = uuid4().hex
    try:
        return client.launch(job, version, {**tags, REQUEST_TAG: request}, assets)
    except DagsterError:
        # What broke the connection may keep the pages away for a while: a restart, above all.
        with suppress(DagsterError):
            if found := retry(
                lambda: client.run_tagged(REQUEST_TAG, request),
                AWAY_SECONDS,
                on=(DagsterError,),
                pause=LOOK_SECONDS,
                clock=clock,
            ):
                return found
        raise


def follow(
    client: DagsterClient, run_id: str, version: str, url: str, say: Say, seconds: float, clock: Clock = SYSTEM_CLOCK
) -> Ended:
    """Say what a delivery does until it has ended, and how it did.

    Args:
        client: asks the pages.
        run_id: of the delivery.
        version: that it delivers.
        url: the run in the pages, for people.
        say: told a line whenever something begins or ends.
        seconds: how long to wait at most.
        clock: that the time is read from.

    Raises:
        DagsterError: if it has not ended by then, or the pages stay away.
    """
    seen: dict[str, str] = {}

    def look() -> str:
        status, steps = retry(
            lambda: client.steps(run_id), AWAY_SECONDS, on=(DagsterError,), pause=LOOK_SECONDS, clock=clock
        )
        for name, state in {"run": status, **steps}.items():
            if seen.get(name) != state:
                seen[name] = state
                say(f"{name}: {WORDS.get(state, state.lower())}")
        return status

    status = wait_until(
        look,
        seconds,
        lambda status: DagsterError(f"The delivery is still {status} after {seconds:.0f} s and goes on: {url}"),
        done=lambda status: status in FINISHED,
        pause=LOOK_SECONDS,
        clock=clock,
    )
    return _ended(client, run_id, version, status, url, clock)


def _ended(client: DagsterClient, run_id: str, version: str, status: str, url: str, clock: Clock) -> Ended:
    """As it was logged, or as little as the run itself says."""
    deadline = Deadline(LOGGED_SECONDS, clock)
    while True:
        attempt = retry(
            lambda: client.attempt(run_id, version), AWAY_SECONDS, on=(DagsterError,), pause=LOOK_SECONDS, clock=clock
        )
        if attempt:
            return Ended.logged(attempt, url)
        if deadline.passed:
            return Ended(version=version, outcome=_unlogged(status), reason=_not_logged(status), url=url)
        clock.sleep(LOOK_SECONDS)


def _unlogged(status: str) -> Outcome:
    return Outcome.CANCELLED if status == "CANCELED" else Outcome.ERROR


def _not_logged(status: str) -> str:
    return f"The run ended {status}, and nobody has logged why; see whether Dagster's daemon runs."
