"""What a delivery orders of the export's pod, and what it gets back: JSON in the folder that both see."""

from __future__ import annotations

from pathlib import Path

from banana_delivery.export.export import LIMIT_SECONDS
from banana_delivery.export.parity import Parity
from banana_delivery.export.precision.order import PrecisionOrder
from banana_delivery.export.protocol import Frame
from banana_delivery.model_registry.base import ModelVersion
from banana_delivery.policy.model import Model
from banana_delivery.policy.quality.precision import AS_ASKED, PrecisionChoice


class Order(Model):
    """What to do; every path lies in the folder that both see.

    Attributes:
        checkpoint: the file as it was downloaded.
        to: existing folder for the result.
        model: what the registry says of the version.
        images: JPEG files on which both must answer alike.
        judged: classes by which the model will be judged; empty: nobody knows.
        judged_by: which images show them.
        limit: seconds that the export may take, comparing it, quantising it, and judging that.
        precision: what to try beside f32; None: nothing.
    """

    checkpoint: Path
    to: Path
    model: ModelVersion
    images: tuple[Path, ...]
    judged: tuple[str, ...] = ()
    judged_by: str = ""
    limit: float = LIMIT_SECONDS
    precision: PrecisionOrder | None = None


class Made(Model):
    """What came of it. It is a stranger's word: what can be seen in the files is read there.

    Attributes:
        classes: names, in the order of their ids.
        frame: what the network takes.
        exported_with: programs and versions that made the export.
        parity: how alike checkpoint and export answer, in f32.
        precision: what the model computes in, and why.
        said: lines about each step.
    """

    classes: tuple[str, ...]
    frame: Frame
    exported_with: str
    parity: Parity
    precision: PrecisionChoice = AS_ASKED
    said: tuple[str, ...]
