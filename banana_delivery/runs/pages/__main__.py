"""Serves the pages, in place of dagster-webserver: ``python -m banana_delivery.runs.pages --workspace FILE``."""

from __future__ import annotations

import sys

from banana_delivery.errors import BananaDeliveryError
from banana_delivery.runs.pages.serving import serve

if __name__ == "__main__":
    try:
        serve("python -m banana_delivery.runs.pages")
    except BananaDeliveryError as error:
        sys.exit(str(error))
