"""What hinders a delivery here, found before one tries: each part is asked once, and what is wrong says what to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from packaging.requirements import Requirement

from banana_delivery.bundle import SERVING_LOCK
from banana_delivery.delivery.rescue.ticks import Ticks
from banana_delivery.delivery.upkeep.room import Room
from banana_delivery.delivery.upkeep.variables import unknown_variables
from banana_delivery.embedded.stack import EmbeddedStack, check_free
from banana_delivery.errors import BananaDeliveryError, RegistryUnreadError, UnfitError
from banana_delivery.images.base import ImageStore
from banana_delivery.model_registry.base import ModelRegistry
from banana_delivery.names import STABLE_TAG
from banana_delivery.notifications.notifier import Notifier
from banana_delivery.platforms import platform
from banana_delivery.policies.reading import load_policy
from banana_delivery.policy import commands
from banana_delivery.policy.drift import find_drift
from banana_delivery.policy.model import Environment
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.instance import another_home, open_instance, refuse_without_slot
from banana_delivery.settings import Settings
from banana_delivery.targets.base import ReleaseTarget

TICK_SECONDS = 120.0
"""The slowest sensor that is watched ticks twice as often."""
MOST_NAMED = 5


@dataclass(frozen=True)
class Finding:
    """What was found of one part.

    Attributes:
        part: its name.
        said: how it is, in one sentence.
        wrong: whether something has to be done.
    """

    part: str
    said: str
    wrong: bool = False


@dataclass(frozen=True)
class Doctor:
    """Looks at everything that a delivery needs, and changes nothing.

    Attributes:
        settings: of this process.
        model_registry: where versions come from.
        image_store: where images go.
        release_target: where releases run.
        notifier: tells people.
        now: seconds since the epoch.
    """

    settings: Settings
    model_registry: ModelRegistry
    image_store: ImageStore
    release_target: ReleaseTarget
    notifier: Notifier
    now: float

    def examine(self) -> Iterator[Finding]:
        """One finding after the other, as they are made; a part that is away keeps no other from being looked at."""
        yield from (Finding("settings", sentence, wrong=True) for sentence in unknown_variables(os.environ))
        parts: dict[str, Callable[[], str]] = {
            "python": self._python,
            "policy": self._policy,
            "home": self._home,
            "disk": self._disk,
            "keys": self._keys,
            "stack": self._stack,
            "mlflow": self._mlflow,
            "images": self._images,
            "staging": lambda: self._environment(Environment.STAGING),
            "production": lambda: self._environment(Environment.PRODUCTION),
            "dagster": self._dagster,
            "sensors": self._sensors,
            "people": self._people,
        }
        for part, look in parts.items():
            try:
                yield Finding(part, look())
            except (BananaDeliveryError, OSError) as error:
                yield Finding(part, str(error), wrong=True)

    def _python(self) -> str:
        wanted = locked(SERVING_LOCK.read_text())
        others = [f"{name} {found}" for name in wanted if (found := _installed(name)) not in {"", wanted[name]}]
        if others:
            raise UnfitError(
                f"{', '.join(others[:MOST_NAMED])} are installed and the lock has others; install from the lock again."
            )
        return f"Python {sys.version.split()[0]}, with the packages of the lock."

    def _policy(self) -> str:
        policy = load_policy(self.settings.policy_source)
        return f"{policy.name}, {policy.digest[:19]}, with {len(policy.freeze)} freeze window(s)."

    def _home(self) -> str:
        home = self.settings.home
        if not home.exists():
            return f"{home} is not there yet; the stack makes it."
        # On a cluster a volume is for the group of its pod to use.
        if home.stat().st_mode & (0o077 if platform(self.settings).is_ours else 0o007):
            raise UnfitError(f"Other users may look into {home}; type: chmod 700 {home}")
        if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
            raise UnfitError(f"{home} cannot be written by this user; let it be theirs, or set BANANA_HOME to another.")
        return f"{home} is this user's alone."

    def _disk(self) -> str:
        room, home = Room(self.settings), self.settings.home
        free, needed, wanted = (size >> 20 for size in (room.free, room.needed, max(room.needed, room.wanted)))
        if free < wanted:
            raise UnfitError(
                f"{free:,} MiB are free below {home} and {wanted:,} are wanted; see what can go: {commands.prune()}"
            )
        return f"{free:,} MiB are free; a delivery takes about {needed:,}."

    def _keys(self) -> str:
        here = CodeLocation.of(self.settings)
        here.asking.refuse_shared()
        evidence = here.evidence
        if evidence.to_be_made:
            return "No key signs records yet; the first record makes one."
        return f"{len(evidence.accepted())} key(s) whose records are believed."

    def _stack(self) -> str:
        processes = platform(self.settings).processes(self.settings)
        found = EmbeddedStack(self.settings, processes).status()
        down = [one.name for one in found if one.state != "RUNNING"]
        if not down:
            return "Every process of the stack runs."
        if len(down) == len(found):
            check_free({setting: port for one in processes for setting, port in one.ports.items()})
            return f"The stack is down, and its ports are free; to start it, type: {commands.up()}"
        raise UnfitError(f"Of the stack {', '.join(down)} does not run; see its log, then type: {commands.up()}")

    def _mlflow(self) -> str:
        try:
            staged = self.model_registry.staged()
        except RegistryUnreadError as unread:
            return f"It answers: {unread}"
        named = ", ".join(one.version for one in staged) or "none"
        return f"It answers; staged versions of {self.settings.model_name}: {named}."

    def _images(self) -> str:
        stable = self.image_store.peek(STABLE_TAG)
        return f"They can be reached; stable is {stable.digest[:19] if stable else 'no image yet'}."

    def _environment(self, environment: Environment) -> str:
        record, observed = self.release_target.record(environment), self.release_target.observed(environment)
        live = record.live
        if live is None:
            return "It answers; nothing was released there yet."
        if differs := [drift.sentence for drift in find_drift(record, observed)]:
            raise UnfitError(f"It is not as recorded: {' '.join(differs)} See: {commands.status()}")
        if environment is Environment.STAGING and not any(one.replicas for one in record.deployments.values()):
            return f"Version {live.version} was tried last; no replicas run, as recorded, until the next delivery."
        return f"Version {live.version} serves, as recorded."

    def _dagster(self) -> str:
        with open_instance(self.settings) as instance:
            refuse_without_slot(instance, self.settings.dagster_pool)
        if elsewhere := another_home(self.settings):
            raise UnfitError(f"{elsewhere} Unset DAGSTER_HOME.")
        return "The instance opens, and lets one delivery run at a time."

    def _sensors(self) -> str:
        last = Ticks(self.settings.home).last()
        silent = [sensor for sensor, at in last.items() if at is None or self.now - at > TICK_SECONDS]
        if silent:
            raise UnfitError(
                f"{', '.join(silent)} did not tick within {TICK_SECONDS:.0f} s; start the daemon ({commands.up()}) "
                "and the sensors in Dagster's pages."
            )
        return "All of them tick."

    def _people(self) -> str:
        if wrong := self.notifier.problems():
            raise UnfitError(" ".join(wrong))
        channels = len(self.settings.notify_urls)
        if not channels:
            return "Nobody is told of anything; BANANA_NOTIFY_URLS names channels."
        return f"{channels} channel(s); try them: {commands.notify_test()}"


def locked(lock: str) -> dict[str, str]:
    """The version of each package that a lock has for this Python on this machine."""
    lines = (line.rstrip(" \\") for line in lock.splitlines() if "==" in line and not line.startswith((" ", "#")))
    asked = (Requirement(line) for line in lines)
    return {one.name: str(one.specifier).removeprefix("==") for one in asked if not one.marker or one.marker.evaluate()}


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
