"""Receives MLflow's webhooks: ``python -m banana_delivery.model_registry.webhooks --port 8084``."""

from __future__ import annotations

import argparse
import logging
import sys

import uvicorn

from banana_delivery.errors import BananaDeliveryError
from banana_delivery.model_registry.webhooks.receiver import (
    MOST_CONNECTIONS,
    BoundedProtocol,
    Receiver,
    receiver_app,
)
from banana_delivery.model_registry.webhooks.secret import webhook_secret
from banana_delivery.settings import load_settings

ENDING_SECONDS = 2
"""Whoever listens then comes again."""


def main() -> None:
    """Receive until told to stop."""
    settings = load_settings()
    parser = argparse.ArgumentParser(prog="python -m banana_delivery.model_registry.webhooks", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=settings.webhook_port)
    told = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    uvicorn.run(
        receiver_app(Receiver(settings.model_name, webhook_secret(settings))),
        host=told.host,
        port=told.port,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=ENDING_SECONDS,
    )


if __name__ == "__main__":
    try:
        main()
    except BananaDeliveryError as error:
        sys.exit(str(error))
