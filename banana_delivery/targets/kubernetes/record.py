"""The durable record of an environment: an annotation on the object that holds its weights.

Record and weights change in one write under the object's resourceVersion, so no reader sees one without the other and
a writer that looked too early is told so. Objects beside it carry the generation that wrote them last, and whoever
takes an environment over stamps them first: a write of an older generation then fails as well.

A copy follows each write (``record_copy``), with the object that carried it. It is looked at when the record is missing
or unreadable, when it is older than what this process has seen, when it is read for the first time, and at each claim.
"""

from __future__ import annotations

import copy
import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from banana_delivery.errors import ConflictError, FencedError, TargetError
from banana_delivery.names import GENERATION_KEY, RECORD_KEY
from banana_delivery.policy.model import COLOURS, Colour, RolloutRecord
from banana_delivery.targets.base import RecordDamage
from banana_delivery.targets.kubernetes.api import Json, KubernetesApi
from banana_delivery.targets.kubernetes.objects import EnvironmentNamespace, annotate, annotation
from banana_delivery.targets.kubernetes.record_copy import RecordCopy
from banana_delivery.targets.kubernetes.routing import Routing
from banana_delivery.targets.restoring import Found, Settled, Traces, above, kept, next_revision, parsed, settled

_log = logging.getLogger(__name__)

CONFLICTS = 30
"""How often a write that came too late is tried again. Only a heartbeat or a router's status can be in the way."""

Change = Callable[[Json, RolloutRecord], RolloutRecord]
"""Given the object (to be changed in place) and its record, says what the record becomes, or raises to refuse."""


@dataclass(frozen=True)
class _Look:
    """What was seen of record and copy.

    Attributes:
        carrier: the object that carries the record; None if it does not exist.
        first: the record on it.
        copy: its copy; None if there was no need to look.
        traces: what else is left of earlier claims.
        manifest: the carrier as it was copied; empty if there is none, or nobody looked.
    """

    carrier: Json | None
    first: Found
    copy: Found | None = None
    traces: Traces = field(default_factory=Traces)
    manifest: Json | None = None

    def believed(self, environment: EnvironmentNamespace) -> Settled:
        """What is to be believed.

        Raises:
            LostRecordError: if nothing can be.
        """
        if self.copy is None:
            assert self.first.record is not None
            return Settled(self.first.record)
        return settled(environment.environment, self.first, self.copy, self.traces)


class RecordStore:
    """Reads and changes the record of one environment.

    Args:
        api: the cluster.
        routing: knows which object carries the record, and what on it is the pipeline's.
    """

    def __init__(self, api: KubernetesApi, routing: Routing) -> None:
        self._api = api
        self._routing = routing
        self._path = routing.carrier
        self._place = routing.place
        self._copy = RecordCopy(api, routing.place)
        self._seen = (-1, -1)
        """The newest that this process knows of: what is older was put back."""
        self._writing = threading.RLock()
        """Keeps two threads from writing record and copy in two orders."""

    def read(self) -> RolloutRecord:
        """The record, from its copy if it was lost.

        Raises:
            LostRecordError: if neither can be believed.
            TargetError: if the object that carries it never existed.
        """
        return self._believed(self._look()).record.told

    def carrier(self) -> Json:
        """The object that holds the weights as it is, whatever is recorded; an empty one if it does not exist."""
        return self._api.get(self._path) or {"metadata": {}, "spec": {}}

    def damage(self) -> RecordDamage | None:
        """What is wrong with what is stored although the record is known."""
        return self._believed(self._look(closely=True)).damage

    def newest(self) -> RolloutRecord | None:
        """The newest record that can be read, however old."""
        look = self._look(closely=True)
        found = max((look.first, look.copy or look.first), key=lambda found: found.order)
        return found.record.told if found.record else None

    def change(self, change: Change, *, closely: bool = False) -> tuple[Json, RolloutRecord]:
        """Change the object and its record in one write, then the copy; tried again if somebody else was faster.

        What was lost is stored again: the record, the weights, and the object itself.

        Args:
            change: what to do.
            closely: look at the copy and at what else is left of earlier claims, even if nothing seems wrong.

        Returns:
            The object and the record as stored.
        """

        def becomes(look: _Look, carrier: Json) -> tuple[RolloutRecord, int] | None:
            believed = self._believed(look)
            before = believed.record.told
            after = change(carrier, before)
            if carrier == look.carrier and after == before and not believed.damage:
                return None
            return after, believed.record.revision + 1

        return self._store(becomes, closely=closely)

    def replace(self, record: RolloutRecord, claimed: Callable[[RolloutRecord], RolloutRecord]) -> RolloutRecord:
        """Store a rebuilt record in the place of whatever is there.

        Args:
            record: the rebuilt one.
            claimed: makes it somebody's, or raises to refuse.
        """

        def becomes(look: _Look, _: Json) -> tuple[RolloutRecord, int]:
            copied = look.copy or Found("")
            base = above(self._place.environment, record, look.first, copied, look.traces)
            return claimed(base), next_revision(look.first, copied)

        return self._store(becomes, closely=True)[1]

    def _store(
        self, becomes: Callable[[_Look, Json], tuple[RolloutRecord, int] | None], *, closely: bool
    ) -> tuple[Json, RolloutRecord]:
        with self._writing:
            for attempt in range(CONFLICTS):
                look = self._look(closely=closely)
                carrier = self._mended(look)
                wanted = becomes(look, carrier)
                if wanted is None:
                    return carrier, look.believed(self._place).record.told
                stored = kept(*wanted)
                annotate(carrier, RECORD_KEY, stored.model_dump_json())
                try:
                    if look.carrier is None:
                        carrier = self._api.create(self._path.rpartition("/")[0], carrier)
                    else:
                        carrier = self._api.replace(self._path, carrier)
                except ConflictError:
                    time.sleep(random.uniform(0, 0.02 * (attempt + 1)))  # noqa: S311 - spreads writers, guards nothing
                    continue
                self._seen = max(self._seen, stored.order)
                self._copy.write(stored, carrier)
                return carrier, wanted[0]
        raise TargetError(f"{self._path} was changed by others {CONFLICTS} times in a row; find out who writes to it.")

    def _look(self, *, closely: bool = False) -> _Look:
        carrier = self._api.get(self._path)
        first = self._recorded(carrier)
        if not closely and first.record and first.record.order >= self._seen > (-1, -1):
            return _Look(carrier, first)
        # The record is written first, so it is read last: what is older then was put back.
        copied, manifest = self._copy.read()
        traces = self._traces()
        carrier = self._api.get(self._path)
        return _Look(carrier, self._recorded(carrier), copied, traces, manifest)

    def _believed(self, look: _Look) -> Settled:
        """What is believed, from now on by this process too.

        Raises:
            LostRecordError: if nothing can be.
            TargetError: if the carrier does not exist, and never did.
        """
        believed = look.believed(self._place)
        if look.carrier is None and not look.manifest:
            raise TargetError(
                f"{self._path} does not exist in the cluster; apply the manifests in k8s/ before the first delivery."
            )
        if believed.record.generation:
            self._seen = max(self._seen, believed.record.order)
        return believed

    def _mended(self, look: _Look) -> Json:
        """The carrier to be changed, with what is the pipeline's on it as it was copied if that was lost."""
        carrier = copy.deepcopy(look.carrier or look.manifest)
        if carrier is None:
            raise TargetError(f"{self._path} does not exist in the cluster; apply the manifests in k8s/ again.")
        if look.manifest and look.copy and look.copy.order > look.first.order:
            self._routing.mend(carrier, look.manifest)
            _log.warning("%s %s; it is restored from %s.", look.first.where, look.first.state, look.copy.where)
        return carrier

    def _recorded(self, carrier: Json | None) -> Found:
        where = f"the annotation {RECORD_KEY} of {self._path}"
        text = annotation(carrier, RECORD_KEY) if carrier else ""
        return parsed(where, text) if text else Found(where)

    def _traces(self) -> Traces:
        """The stamps of earlier claims, and what runs."""
        deployments = {path: self._api.get(path) for path in map(self._place.deployment, self._colours)}
        service = self._place.service(self._place.users_service)
        beside = {} if service == self._path else {service: self._api.get(service)}
        stamps = [int(annotation(it, GENERATION_KEY) or 0) for it in (*deployments.values(), *beside.values()) if it]
        running = tuple(path for path, found in deployments.items() if found and found["spec"].get("replicas"))
        return Traces(max(stamps, default=0), running)

    @property
    def _colours(self) -> tuple[Colour, ...]:
        return COLOURS[self._place.environment]


def change_stamped(api: KubernetesApi, path: str, generation: int, change: Callable[[Json], None]) -> Json | None:
    """Change an object beside the record in place, and leave the generation on it.

    Returns:
        The object as stored; None if it does not exist.

    Raises:
        FencedError: if a later generation has been here.
    """
    for _ in range(CONFLICTS):
        thing = api.get(path)
        if thing is None:
            return None
        stamped = int(annotation(thing, GENERATION_KEY) or 0)
        if stamped > generation:
            raise FencedError(
                f"{path} belongs to generation {stamped} by now; generation {generation} may not change it."
            )
        changed = copy.deepcopy(thing)
        change(changed)
        annotate(changed, GENERATION_KEY, str(generation))
        if changed == thing:
            return thing
        try:
            return api.replace(path, changed)
        except ConflictError:
            continue
    raise TargetError(f"{path} was changed by others {CONFLICTS} times in a row; find out who writes to it.")
