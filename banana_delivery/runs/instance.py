"""The Dagster instance that holds the audit trail, and the one slot in it for which deliveries wait.

The slot's limit has to be there, by name, before the daemon starts: Dagster's default limit did not hold back the first
runs of a fresh instance. As a program this module sets it, in a process of its own, since opening an instance loads
much that the command line does not need.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
import yaml
from dagster._core.instance.config import PoolGranularity
from dagster._core.scheduler.instigation import InstigatorType, SensorInstigatorData
from sqlalchemy.exc import OperationalError

from banana_delivery.errors import DagsterError
from banana_delivery.policy import commands
from banana_delivery.settings import Settings, load_settings
from banana_delivery.waiting import retry

LOG = logging.getLogger(__name__)
POOL_LIMIT = 1
"""One delivery at a time per environment: its three last assets share a pool, whose limit is 1 run."""
THREADS_FOR_OTHERS = 4
"""Of the daemon's, that no sensor may hold which takes its time."""
TICKING_SECONDS = 60.0
"""A sensor whose last tick is so much older than another's is no longer there; ours tick every five."""
CONFIGURATION = "dagster.yaml"
"""In the folder of an instance."""
DATABASE = Path("history") / "runs" / "index.db"
"""There as well, unless its configuration says that it is elsewhere."""
LOCKED_SECONDS = 20.0
"""How long a locked database is asked again: the disk may be slow for the process that writes to it."""


def dagster_home(settings: Settings) -> Path:
    """Where the pipeline's own instance is: in its home once the stack was started there, else DAGSTER_HOME."""
    own, told = settings.home / "dagster", os.environ.get("DAGSTER_HOME")
    return Path(told) if told and not (own / CONFIGURATION).is_file() else own


def another_home(settings: Settings) -> str:
    """One sentence if DAGSTER_HOME leads to another instance than the pipeline's own; empty otherwise."""
    told, own = os.environ.get("DAGSTER_HOME"), dagster_home(settings)
    if not told or Path(told).resolve() == own.resolve():
        return ""
    return f"DAGSTER_HOME leads to {told}, which is another instance than this pipeline's own; {own} is used."


@contextmanager
def open_instance(settings: Settings, patience: float = LOCKED_SECONDS) -> Iterator[dg.DagsterInstance]:
    """The instance, opened for the block.

    Args:
        settings: of the home that it is in.
        patience: seconds for which its database may be locked by another process.

    Raises:
        DagsterError: if there is none, or it cannot be opened.
    """
    home = dagster_home(settings)
    if said := another_home(settings):
        LOG.warning(said)
    if not (home / CONFIGURATION).is_file():
        raise DagsterError(f"There is no Dagster instance in {home} yet; start the stack: {commands.up()}")
    with ExitStack() as stack:
        try:
            instance = stack.enter_context(
                retry(
                    lambda: dg.DagsterInstance.from_config(str(home)),
                    patience,
                    on=(OperationalError,),
                    meanwhile=_unless_locked,
                )
            )
        except Exception as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise DagsterError(f"Dagster's instance in {home} cannot be opened: {first}") from error
        yield instance


@contextmanager
def open_instance_if_it_answers(settings: Settings) -> Iterator[dg.DagsterInstance | None]:
    """The instance, opened for the block; None where its storage cannot be opened, for what must not wait for it.

    One whose database is gone counts as away: opened, it would begin an empty one, and what is written there would be
    lost as soon as the true one is put back.
    """
    with ExitStack() as stack:
        try:
            _refuse_without_database(dagster_home(settings))
            instance = stack.enter_context(open_instance(settings, patience=0))
        except (DagsterError, OSError) as error:
            LOG.warning("%s", error)
            instance = None
        yield instance


def _unless_locked(error: OperationalError) -> None:
    if "database is locked" not in str(error.orig):
        raise error


def _refuse_without_database(home: Path) -> None:
    """Let pass only what has a database, or keeps it elsewhere.

    Raises:
        DagsterError: if it is gone; the folder of an instance that was never used has none, either.
    """
    try:
        told = yaml.safe_load((home / CONFIGURATION).read_text()) or {}
    except (FileNotFoundError, yaml.YAMLError):
        return  # Whoever opens it says so.
    if (
        isinstance(told, dict)
        and not {"storage", "event_log_storage"} & told.keys()
        and not (home / DATABASE).is_file()
    ):
        raise DagsterError(f"The database of Dagster's instance is gone: there is no {home / DATABASE}.")


def may_take_its_time(instance: dg.DagsterInstance, sensor: str, *first: str) -> bool:
    """Whether a sensor may hold one of the daemon's threads, and those of its name in other code locations theirs.

    The others, ours that bring production back among them, then have as many threads as a daemon without such a sensor.

    Args:
        instance: whose daemon.
        sensor: its name.
        first: names of those that take their time before it may.
    """
    told = instance.get_sensor_settings()
    spare = int(told.get("num_workers") or 0) - THREADS_FOR_OTHERS if told.get("use_threads") else 0
    return spare > 0 and sum(_ticking(instance, one) for one in (sensor, *first)) <= spare


def _ticking(instance: dg.DagsterInstance, sensor: str) -> int:
    """How many code locations have a running sensor of this name; one that has gone away leaves an old tick behind."""
    states = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    running = [state.instigator_data for state in states if state.is_running and state.instigator_name == sensor]
    ticks = [data.last_tick_start_timestamp or 0.0 for data in running if isinstance(data, SensorInstigatorData)]
    # All of them are of the daemon's clock.
    return sum(max(ticks) - tick < TICKING_SECONDS for tick in ticks)


def running_sensors(instance: dg.DagsterInstance, code_location: str) -> set[str]:
    """The names of those of a code location that Dagster evaluates; one that it never saw is not among them."""
    states = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    return {one.instigator_name for one in states if one.is_running and one.selector.location_name == code_location}


def refuse_without_slot(instance: dg.DagsterInstance, pool: str) -> None:
    """Let pass only where a second delivery would wait for the first one.

    Raises:
        DagsterError: if it would not, with what to do about it.
    """
    limits = {one.name: one.limit for one in instance.event_log_storage.get_pool_limits() if not one.from_default}
    if limits.get(pool) != POOL_LIMIT:
        is_now = f"is {limits[pool]}" if pool in limits else "is not set"
        raise DagsterError(
            f"The limit of the pool {pool} {is_now} on this Dagster instance, so two deliveries could run at once; "
            f"type: dagster instance concurrency set {pool} {POOL_LIMIT}"
        )
    if instance.get_concurrency_config().pool_config.pool_granularity is not PoolGranularity.RUN:
        raise DagsterError(
            "This Dagster instance gives pool slots to single steps, so two deliveries could mix; set "
            "concurrency.pools.granularity to run in its dagster.yaml."
        )


if __name__ == "__main__":
    with dg.DagsterInstance.get() as own:
        own.event_log_storage.set_concurrency_slots(load_settings().dagster_pool, POOL_LIMIT)
