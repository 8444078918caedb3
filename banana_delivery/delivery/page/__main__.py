"""Serves Dagster's pages and ours: ``python -m banana_delivery.delivery.page --workspace FILE``."""

from __future__ import annotations

import sys

from banana_delivery.delivery.page.app import page_app
from banana_delivery.errors import BananaDeliveryError
from banana_delivery.runs.pages.serving import serve

if __name__ == "__main__":
    try:
        serve("python -m banana_delivery.delivery.page", page_app)
    except BananaDeliveryError as error:
        sys.exit(str(error))
