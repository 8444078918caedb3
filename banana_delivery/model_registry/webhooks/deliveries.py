"""What a delivery of a webhook is worth: whether MLflow signed it, whether it is new, and what it is about.

Pure: it is told what time it is. The form is MLflow 3.17's (`mlflow/webhooks/delivery.py`), which is that of Standard
Webhooks: HMAC-SHA256 over ``id.timestamp.body``, in base64, in three headers.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol

from banana_delivery.errors import WebhookRefusedError

SIGNATURE, TIMESTAMP, DELIVERY_ID = "X-MLflow-Signature", "X-MLflow-Timestamp", "X-MLflow-Delivery-Id"
Event = Literal["model_version_alias.created", "model_version_alias.deleted", "model_version_tag.set"]
EVENTS: tuple[Event, ...] = ("model_version_alias.created", "model_version_alias.deleted", "model_version_tag.set")
"""What MLflow is asked to tell. Of a stage it tells nothing; a tag may be set where somebody staged by one."""
WINDOW_SECONDS = 300.0
"""How much older than the newest one a delivery may be. MLflow tries four times, within three minutes."""
MOST_IDS = 4096
"""Deliveries remembered, some 600 KB."""
_VERSION = "v1"
_ID = re.compile(r"[0-9A-Za-z_-]{8,100}")
_SECONDS = re.compile(r"[0-9]{1,12}")


class Headers(Protocol):
    """The headers of a request, of which one may be there several times."""

    def getlist(self, key: str) -> Sequence[str]:
        """Every value of a header."""


@dataclass(frozen=True)
class Delivery:
    """A delivery that MLflow signed.

    Attributes:
        delivery_id: MLflow's own; the same for each try of one delivery.
        timestamp: when MLflow sent it first, by its own clock, seconds since the epoch.
        body: what it says.
    """

    delivery_id: str
    timestamp: int
    body: bytes


class News(StrEnum):
    """What a delivery is beside those before it."""

    NEW = "new"
    SEEN = "seen"
    OLD = "old"


def sign(secret: str, delivery_id: str, timestamp: str, body: bytes) -> str:
    """The signature of a delivery, as its header has it."""
    signed = b".".join([delivery_id.encode(), timestamp.encode(), body])
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    return f"{_VERSION},{base64.b64encode(digest).decode()}"


def authentic(secret: str, headers: Headers, body: bytes) -> Delivery:
    """A delivery, if it is signed with the secret.

    Raises:
        WebhookRefusedError: if it is not, whatever else it may be.
    """
    named = {name: headers.getlist(name) for name in (SIGNATURE, TIMESTAMP, DELIVERY_ID)}
    if any(len(values) != 1 for values in named.values()):
        raise WebhookRefusedError(401, f"A webhook of MLflow bears {SIGNATURE}, {TIMESTAMP} and {DELIVERY_ID}, once.")
    signature, timestamp, delivery_id = (values[0] for values in named.values())
    if not _SECONDS.fullmatch(timestamp) or not _ID.fullmatch(delivery_id):
        raise WebhookRefusedError(401, f"The {TIMESTAMP} or {DELIVERY_ID} is none of MLflow's.")
    expected = sign(secret, delivery_id, timestamp, body)
    if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
        raise WebhookRefusedError(401, "The signature does not fit: MLflow has another secret than the receiver.")
    return Delivery(delivery_id, int(timestamp), body)


@dataclass
class Memory:
    """Which deliveries there were: each counts once, and none that is late.

    All times are the sender's own, so that no two clocks are compared: how late a delivery is, the newest one before it
    says, set on by as many seconds as have passed here since. What is forgotten for want of room leaves its time
    behind, and nothing of that time or before it counts any more.
    """

    _times: OrderedDict[str, int] = field(default_factory=OrderedDict)
    _newest: tuple[int, float] | None = None
    _forgotten: int = -1

    def judge(self, delivery: Delivery, now: float) -> News:
        """Whether a delivery is news; if it is, it is none from now on.

        Args:
            delivery: signed.
            now: seconds of a clock here that never jumps.
        """
        if delivery.delivery_id in self._times:
            return News.SEEN
        expected = float(delivery.timestamp) if self._newest is None else self._newest[0] + now - self._newest[1]
        if delivery.timestamp <= self._forgotten or delivery.timestamp < expected - WINDOW_SECONDS:
            return News.OLD
        if self._newest is None or delivery.timestamp > expected:
            self._newest = (delivery.timestamp, now)
        self._times[delivery.delivery_id] = delivery.timestamp
        if len(self._times) > MOST_IDS:
            _, time = self._times.popitem(last=False)
            self._forgotten = max(self._forgotten, time)
        return News.NEW


def concerns(body: bytes, model_name: str) -> bool:
    """Whether a delivery is about a version of a model, and of a kind by which one may be staged.

    Raises:
        WebhookRefusedError: if nobody can tell what it is about.
    """
    try:
        said = json.loads(body)
        kind, name = f"{said['entity']}.{said['action']}", said["data"]["name"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise WebhookRefusedError(400, "The body is no event of MLflow's registry.") from error
    return kind in EVENTS and name == model_name
