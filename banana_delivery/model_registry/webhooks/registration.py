"""Having MLflow send its webhooks to the receiver."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from banana_delivery.errors import RegistryError, redacted
from banana_delivery.model_registry.client import failures, open_client, plain_reason, without_credentials
from banana_delivery.model_registry.webhooks.deliveries import EVENTS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.webhook import Webhook


def register(tracking_uri: str, model_name: str, url: str, secret: str) -> str:
    """Have MLflow tell the receiver of what happens to the model's versions; doing so again changes nothing.

    Args:
        tracking_uri: the server.
        model_name: registered model.
        url: where the receiver takes deliveries, as MLflow reaches it.
        secret: with which they are signed.

    Returns:
        One sentence that says whether a delivery of MLflow's arrived.

    Raises:
        RegistryError: if MLflow does not answer, or does not take it.
    """
    place = without_credentials(tracking_uri)
    try:
        client = open_client(tracking_uri)
        webhook = _registered(client, model_name, url, secret)
    except failures() as error:
        raise RegistryError(
            f"MLflow at {place} did not take the webhook for {without_credentials(url)} ({plain_reason(error)}): it "
            "wants https and a public address unless its server is told otherwise, and a database (docs/triggers.md)."
        ) from error
    if why := _undelivered(client, webhook):
        return f"MLflow could not deliver to {without_credentials(url)}, so staging waits for the next look: {why}"
    return f"MLflow tells {without_credentials(url)} of what happens to {model_name}."


def _undelivered(client: MlflowClient, webhook: Webhook) -> str:
    """Why a delivery did not arrive; empty if it did. MLflow tries for longer than its client waits for it."""
    try:
        tried = client.test_webhook(webhook.webhook_id)
    except failures() as error:
        return plain_reason(error)
    said = tried.error_message or f"HTTP {tried.response_status}: {tried.response_body}"
    return "" if tried.success else redacted(said)[:300]


def _registered(client: MlflowClient, model_name: str, url: str, secret: str) -> Webhook:
    """The one webhook of this model; those that somebody registered beside it go."""
    name = name_of(model_name)
    ours = [one for one in _all(client) if one.name == name]
    for other in ours[1:]:
        client.delete_webhook(other.webhook_id)
    if not ours:
        return client.create_webhook(
            name=name,
            url=url,
            events=list(EVENTS),
            description=f"Has the deliveries of {model_name} begin at once.",
            secret=secret,
        )
    return client.update_webhook(ours[0].webhook_id, url=url, events=list(EVENTS), secret=secret, status="ACTIVE")


def name_of(model_name: str) -> str:
    """What the webhook is called in MLflow, which allows fewer characters there than in the names of models."""
    return f"banana-delivery-{hashlib.sha256(model_name.encode()).hexdigest()[:8]}"


def _all(client: MlflowClient) -> Iterator[Webhook]:
    token: str | None = None
    while True:
        page = client.list_webhooks(max_results=100, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
