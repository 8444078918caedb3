"""Checkpoints of every kind of detector that ultralytics builds, tiny and untrained, yet finding something.

An untrained network finds nothing, and nothing can be compared. So its normalisation is settled on a few images and
its last layers are spread until some of its scores are above what a user sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from banana_delivery.sample_data.leaves import make
from examples.quiet import ultralytics

SHAPES = ((320, 240), (240, 320), (500, 180))
"""Width and height of pictures."""
SCALE = "n"
HIGHEST = 1.2
"""Logit of the best score of each class: 0.77."""


def build(
    architecture: str,
    to: Path,
    *,
    classes: int = 3,
    width: float = 0.125,
    depth: float = 0.33,
    imgsz: Any = 96,
    decoder: Sequence[int] = (),
    calm: float = 1.0,
) -> Path:
    """Write a checkpoint as a training leaves it.

    Args:
        architecture: name of a file of ultralytics' ``cfg/models`` without its ending, such as ``yolov8-p6``.
        to: folder that receives ``best.pt``.
        classes: number of classes.
        width: width multiplier.
        depth: depth multiplier.
        imgsz: what the checkpoint says of its size, right or not.
        decoder: of a transformer: width, queries, points, heads, layers and width between; empty: as large as it is.
        calm: what each normalisation multiplies by. Layer upon layer of random weights makes a little difference of the
            input a larger one until rounding decides what is found, which training prevents; a factor below 1 keeps the
            activations where they are nearly straight, and does it too.
    """
    import torch

    package = ultralytics()
    torch.manual_seed(0)
    model = _new(package, architecture, to, classes, width, depth, decoder)
    network: Any = model.model
    _settle(network, imgsz, calm)
    network.names = {index: f"class {index}" for index in range(classes)}
    return save(network, to, imgsz)


def save(network: Any, to: Path, imgsz: Any = 96, *, criterion: Any = None, **more: Any) -> Path:
    """Write a network as ultralytics' ``strip_optimizer`` leaves it."""
    import torch

    arguments = {"task": "detect", "imgsz": imgsz, "data": "data.yaml"}
    network.args = arguments
    network.criterion = criterion
    network.eval()
    path = to / "best.pt"
    torch.save({"epoch": -1, "model": network.half(), "ema": None, "train_args": arguments, **more}, path)
    return path


def _new(
    package: Any, architecture: str, work: Path, classes: int, width: float, depth: float, decoder: Sequence[int]
) -> Any:
    [source] = sorted((Path(package.__file__).parent / "cfg" / "models").rglob(f"{architecture}.yaml"))
    definition = yaml.safe_load(source.read_text())
    definition["nc"] = classes
    definition["head"][-1][3] += decoder
    if "scales" in definition:
        channels = definition["scales"].get(SCALE, [0, 0, 1024])[2]
        definition["scales"] = {SCALE: [depth, width, channels]}
        definition["scale"] = SCALE
    else:
        definition |= {"depth_multiple": depth, "width_multiple": width}
    file = work / f"{architecture}.yaml"
    file.write_text(yaml.safe_dump(definition))
    kind = package.RTDETR if "rtdetr" in architecture else package.YOLO
    return kind(file)


def _settle(network: Any, imgsz: Any, calm: float) -> None:
    import torch
    from torch import nn

    batch = torch.from_numpy(_pictures(_square(imgsz, int(network.stride.max()))))
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    network.eval()
    for part in norms:
        part.train()
        part.reset_running_stats()
        part.momentum = None
        part.weight.data.mul_(calm)
    with torch.no_grad():
        network(batch)
    for part in norms:
        part.eval()
        part.momentum = 0.03
    _spread(network, batch)


def _square(imgsz: Any, stride: int) -> int:
    """Side of a square, in whole strides and two of them at least."""
    longest = max(int(side) for side in (imgsz if isinstance(imgsz, (list, tuple)) else [imgsz]))
    return max(-(-longest // stride), 2) * stride


def picture(index: int) -> Any:
    """A leaf of another shape for each index; every network is settled on the first few, and finds something there."""
    return cv2.resize(make(3, index).image, SHAPES[index % len(SHAPES)])


def _pictures(side: int) -> Any:
    """Pictures as a network sees them: grey where they do not fill the square."""
    from ultralytics.data.augment import LetterBox

    fit = LetterBox((side, side), auto=False)
    framed: Any = [fit(image=picture(index)) for index in range(2 * len(SHAPES))]
    return np.stack(framed)[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32) / 255


def _spread(network: Any, batch: Any) -> None:
    """Scale and shift each last layer of scores until the best of each class are high and most are not."""
    import torch
    from torch import nn

    for part in _last_layers(network.model[-1]):
        seen: list[Any] = []
        hook = part.register_forward_hook(lambda _module, _given, out, seen=seen: seen.append(out.detach()))
        with torch.no_grad():
            network(batch)
        hook.remove()
        if not seen:
            continue
        axis = 1 if isinstance(part, nn.Conv2d) else seen[0].dim() - 1
        with torch.no_grad():
            by_class = torch.cat([one.transpose(0, axis).flatten(1) for one in seen], 1)
            top, middle = by_class.amax(1), by_class.median(1).values
            # No score may come near 1, where so many are equal that chance decides which box is kept.
            factor = HIGHEST * 2.5 / float((top - middle).max() + 1e-6)
            part.weight.mul_(factor)
            part.bias.mul_(factor).add_(HIGHEST - top * factor)


def _last_layers(head: Any) -> list[Any]:
    from torch import nn

    if hasattr(head, "dec_score_head"):
        return [*head.dec_score_head, head.enc_score_head]
    branches = [getattr(head, name, None) for name in ("cv3", "one2one_cv3")]
    layers = [branch[-1] if isinstance(branch, nn.Sequential) else branch for one in branches if one for branch in one]
    return [layer for layer in layers if isinstance(layer, nn.Conv2d)]
