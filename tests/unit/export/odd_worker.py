"""A subprocess that does what its request says; run by ``test_sandbox.py`` alone."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from banana_delivery.errors import NotADetectorError
from banana_delivery.export.sandbox import serve
from banana_delivery.policy.model import Model


class Order(Model):
    behaviour: str


class Told(Model):
    environment: dict[str, str]
    directory: str


def obey(order: Order) -> Told:
    match order.behaviour:
        case "reject":
            raise NotADetectorError("It only tells cats from dogs.")
        case "crash":
            raise ValueError("out of cheese")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "end":
            os.kill(os.getpid(), signal.SIGTERM)
        case "hang":
            time.sleep(60)
        case "eat":
            bytearray(64 * 1024**3)
    return Told(environment=dict(os.environ), directory=str(Path.cwd()))


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], Order, obey))
