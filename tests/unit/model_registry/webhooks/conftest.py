"""A receiver without a socket, and deliveries as MLflow itself makes them."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.testclient import TestClient

from banana_delivery.model_registry.webhooks.deliveries import DELIVERY_ID, SIGNATURE, TIMESTAMP, sign
from banana_delivery.model_registry.webhooks.receiver import Receiver, receiver_app
from tests.support.clock import HandClock

SECRET = "the secret that MLflow signs with"
MODEL = "bananas"
MLFLOWS_TIME = 1_000_000_000
"""Years behind every other clock: nobody may compare it with one of theirs."""


def event(kind: str = "model_version_alias.created", name: str = MODEL, **data: Any) -> bytes:
    """The body of a delivery."""
    entity, _, action = kind.partition(".")
    said = {"entity": entity, "action": action, "timestamp": "then", "data": {"name": name, **data}}
    return json.dumps(said).encode()


@dataclass
class Sender:
    """MLflow, as far as the receiver knows it."""

    client: TestClient
    receiver: Receiver
    clock: HandClock

    def send(
        self,
        body: bytes | None = None,
        secret: str = SECRET,
        timestamp: int | str = MLFLOWS_TIME,
        delivery_id: str = "",
        **headers: str,
    ) -> tuple[int, bool]:
        """Send one, and say what was answered and whether it rang."""
        body, before = event() if body is None else body, self.receiver.rings.heard
        delivery_id = delivery_id or str(uuid.uuid4())
        signed = {
            SIGNATURE: sign(secret, delivery_id, str(timestamp), body),
            TIMESTAMP: str(timestamp),
            DELIVERY_ID: delivery_id,
        }
        answer = self.client.post("/mlflow", content=body, headers={**signed, **headers})
        return answer.status_code, self.receiver.rings.heard != before


@pytest.fixture
def sender() -> Sender:
    clock = HandClock()
    receiver = Receiver(MODEL, SECRET, clock)
    return Sender(TestClient(receiver_app(receiver)), receiver, clock)
