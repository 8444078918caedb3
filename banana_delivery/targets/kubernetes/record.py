"""The durable record of an environment: an annotation on the object that holds its weights.

Record and weights change in one write under the object's resourceVersion, so no reader sees one without the other and
a writer that looked too early is told so. Objects beside it carry the generation that wrote them last, and whoever
takes an environment over stamps them first: a write of an older generation then fails as well.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable

from pydantic import ValidationError

from banana_delivery.errors import ConflictError, FencedError, TargetError
from banana_delivery.names import GENERATION_KEY, RECORD_KEY
from banana_delivery.policy.model import Environment, RolloutRecord
from banana_delivery.targets.kubernetes.api import Json, KubernetesApi
from banana_delivery.targets.kubernetes.objects import annotate, annotation

CONFLICTS = 30
"""How often a write that came too late is tried again. Only a heartbeat or a router's status can be in the way."""

Change = Callable[[Json, RolloutRecord], RolloutRecord]
"""Given the object (to be changed in place) and its record, says what the record becomes, or raises to refuse."""


class RecordStore:
    """Reads and changes the record of one environment.

    Args:
        api: the cluster.
        path: API path of the object that carries the record.
        environment: whose record it is.
    """

    def __init__(self, api: KubernetesApi, path: str, environment: Environment) -> None:
        self._api = api
        self._path = path
        self._environment = environment

    def read(self) -> tuple[Json, RolloutRecord]:
        """The object and its record.

        Raises:
            TargetError: if the object does not exist, or its annotation is no record.
        """
        carrier = self._api.get(self._path)
        if carrier is None:
            raise TargetError(
                f"{self._path} does not exist in the cluster; apply the manifests in k8s/ before the first delivery."
            )
        return carrier, self._parsed(annotation(carrier, RECORD_KEY))

    def change(self, change: Change) -> tuple[Json, RolloutRecord]:
        """Change the object and its record in one write; tried again if somebody else was faster.

        Returns:
            The object and the record as stored.
        """
        for attempt in range(CONFLICTS):
            carrier, record = self.read()
            changed = copy.deepcopy(carrier)
            becomes = change(changed, record)
            annotate(changed, RECORD_KEY, becomes.model_dump_json())
            if changed == carrier:
                return carrier, record
            try:
                return self._api.replace(self._path, changed), becomes
            except ConflictError:
                time.sleep(random.uniform(0, 0.02 * (attempt + 1)))  # noqa: S311 - spreads writers, guards nothing
        raise TargetError(f"{self._path} was changed by others {CONFLICTS} times in a row; find out who writes to it.")

    def _parsed(self, text: str) -> RolloutRecord:
        if not text:
            return RolloutRecord(environment=self._environment)
        try:
            return RolloutRecord.read_json(text)
        except ValidationError as error:
            raise TargetError(
                f"The annotation {RECORD_KEY} of {self._path} is no rollout record ({error.error_count()} errors, the "
                f"first: {error.errors()[0]['msg']}). Nothing was changed. Restore it from a backup; if that is "
                "impossible, remove it and redeploy the version that serves."
            ) from error


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
