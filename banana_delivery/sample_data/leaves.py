"""Synthetic, labelled banana leaves with black-sigatoka lesions.

``python -m banana_delivery.sample_data.leaves --count 1000 --out DIR`` writes a data set.

Every picture is a function of (seed, index) alone, so any slice of a data set can be made again. The hold-out on which
the delivery judges models is `HOLDOUT_COUNT` pictures of `HOLDOUT_SEED`; the samples were trained on other seeds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from rich.progress import track

from banana_delivery.files import bytes_sha256, write_atomically
from banana_delivery.sample_data import camera, paint, scene
from banana_delivery.sample_data.scene import CLASSES

__all__ = ["CLASSES", "HOLDOUT_COUNT", "HOLDOUT_SEED", "LabelledImage", "generate", "make", "write_dataset"]

HOLDOUT_SEED = 2026
HOLDOUT_COUNT = 1000
CALIBRATION_SEED = 2027
"""Of leaves that are neither learnt nor judged by, but show how large a network's numbers get."""
SIZE = (192, 144)
JPEG_QUALITY = 88
PATTERNS = {"images": "leaf-*.jpg", "labels": "leaf-*.txt"}
"""The files of a data set, by their folder."""


@dataclass(frozen=True)
class LabelledImage:
    """A picture and the truth about it.

    Attributes:
        name: unique for (seed, index); the file name without its ending.
        image: (H, W, 3) uint8, BGR.
        boxes: (n, 4) float32, x1 y1 x2 y2 in pixels, inside the image; n = 0 for a healthy leaf.
        classes: (n,) int64, indices into `CLASSES`.
    """

    name: str
    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]


def make(seed: int, index: int, size: tuple[int, int] = SIZE) -> LabelledImage:
    """Make picture number ``index`` of ``seed``; ``size`` is (width, height) in pixels."""
    rng = np.random.default_rng([seed, index])
    leaf = scene.sample_leaf(rng, size)
    lesions = scene.sample_lesions(rng, leaf, size)
    painted = paint.paint(rng, leaf, [lesion for lesion, _ in lesions], size)
    return LabelledImage(
        name=f"leaf-{seed}-{index:05d}",
        image=camera.photograph(rng, painted),
        boxes=np.array([box for _, box in lesions], np.float32).reshape(-1, 4),
        classes=np.array([lesion.kind for lesion, _ in lesions], np.int64),
    )


def generate(count: int, seed: int, size: tuple[int, int] = SIZE) -> Iterator[LabelledImage]:
    """Yield pictures 0 to ``count - 1`` of ``seed``."""
    return (make(seed, index, size) for index in range(count))


def write_dataset(directory: Path, count: int, seed: int, *, progress: bool = True) -> Path:
    """Write JPEGs, YOLO label files and ``labels.json``; return the path of the latter.

    A directory that already holds exactly this data set is left as it is. Pictures of another one are replaced; what
    another version of this code painted alike is not touched, so that a delivery that reads it is not disturbed.

    Args:
        directory: receives ``images/``, ``labels/`` and ``labels.json``; made if missing.
        count: number of pictures.
        seed: seed of the data set.
        progress: whether to show a progress bar on the terminal.
    """
    index_file = directory / "labels.json"
    fingerprint = _fingerprint(count, seed)
    if _is_complete(directory, fingerprint):
        return index_file
    for folder in PATTERNS:
        (directory / folder).mkdir(parents=True, exist_ok=True)
    pictures = track(generate(count, seed), "Painting leaves", total=count, disable=not progress, transient=True)
    entries = [_write_picture(directory, picture) for picture in pictures]
    index = {"fingerprint": fingerprint, "seed": seed, "classes": list(CLASSES), "images": entries}
    # The index comes last and at once: its presence says that everything before it is there.
    write_atomically(index_file, json.dumps(index))
    _remove_others(directory, {Path(entry["file"]).stem for entry in entries})
    return index_file


def _fingerprint(count: int, seed: int) -> str:
    """Name a data set by what it was asked to be and by the code that paints it."""
    asked = f"{count} {seed} {SIZE} {JPEG_QUALITY}".encode()
    sources = (__file__, scene.__file__, paint.__file__, camera.__file__)
    return bytes_sha256(b"".join([asked, *(Path(source).read_bytes() for source in sources)]))


def _is_complete(directory: Path, fingerprint: str) -> bool:
    try:
        index = json.loads((directory / "labels.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    return index.get("fingerprint") == fingerprint and all((directory / e["file"]).is_file() for e in index["images"])


def _remove_others(directory: Path, names: set[str]) -> None:
    for folder, pattern in PATTERNS.items():
        for stale in (directory / folder).glob(pattern):
            if stale.stem not in names:
                stale.unlink(missing_ok=True)


def _write_picture(directory: Path, picture: LabelledImage) -> dict[str, Any]:
    height, width = picture.image.shape[:2]
    encoded = cv2.imencode(".jpg", picture.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    _write(directory, f"images/{picture.name}.jpg", encoded.tobytes())
    _write(directory, f"labels/{picture.name}.txt", _yolo_label(picture).encode())
    return {
        "file": f"images/{picture.name}.jpg",
        "width": width,
        "height": height,
        "boxes": [[round(float(side), 2) for side in box] for box in picture.boxes],
        "classes": picture.classes.tolist(),
    }


def _write(directory: Path, name: str, content: bytes) -> None:
    path = directory / name
    if not path.is_file() or path.read_bytes() != content:
        # Whoever finds an index takes what it names for what it says.
        (directory / "labels.json").unlink(missing_ok=True)
        path.write_bytes(content)


def _yolo_label(picture: LabelledImage) -> str:
    """Return one line a box: class, centre and size as shares of the picture's width and height."""
    height, width = picture.image.shape[:2]
    scale = np.array([width, height], np.float32)
    centres = (picture.boxes[:, :2] + picture.boxes[:, 2:]) / 2 / scale
    sides = (picture.boxes[:, 2:] - picture.boxes[:, :2]) / scale
    rows = zip(picture.classes, np.hstack([centres, sides]), strict=True)
    return "".join(f"{kind} {' '.join(f'{share:.6f}' for share in row)}\n" for kind, row in rows)


app = typer.Typer(add_completion=False)


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="Directory that receives the data set.")],
    count: Annotated[int, typer.Option(min=1, help="Number of pictures.")] = HOLDOUT_COUNT,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the data set.")] = HOLDOUT_SEED,
) -> None:
    """Write a data set of synthetic banana leaves."""
    typer.echo(write_dataset(out, count, seed))


if __name__ == "__main__":
    app()
