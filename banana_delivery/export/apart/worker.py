"""The program of the export's pod: ``python -m banana_delivery.export.apart.worker ORDER ANSWER``.

It exports as a delivery would in its own pod, in the same confined processes; a model that breaks out of those finds a
pod that has nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

from banana_delivery.errors import ExportError, RejectedModelError
from banana_delivery.export.apart.order import Made, Order
from banana_delivery.export.export import export_model
from banana_delivery.export.protocol import Rejection
from banana_delivery.export.sandbox import REJECTED
from banana_delivery.policy.model import Model


def main(asked: str, answered: str) -> int:
    """Do what is ordered, answer, and return the exit code."""
    order = Order.model_validate_json(Path(asked).read_bytes())
    said: list[str] = []
    answer: Model
    try:
        made = export_model(
            *(order.checkpoint, order.to, order.model, order.images, said.append),
            judged=order.judged,
            judged_by=order.judged_by,
            limit=order.limit,
            precision=order.precision,
        )
        answer, code = (
            Made(
                classes=made.classes,
                frame=made.frame,
                exported_with=made.exported_with,
                parity=made.parity,
                precision=made.precision,
                said=tuple(said),
            ),
            0,
        )
    except RejectedModelError as error:
        answer, code = Rejection(kind=type(error).__name__, message=str(error)), REJECTED
    except ExportError as error:
        print(error)  # noqa: T201 - the last line is what the delivery tells people
        return 1
    Path(answered).write_text(answer.model_dump_json())
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
