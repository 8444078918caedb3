"""Trains the committed sample models from scratch: ``python -m examples.train modest|better|regressed|all``.

The three differ in what a real team's models differ in: how much they saw, for how long, and how well it was labelled.
All are ordinary ultralytics detection checkpoints for 160 pixel squares. Seeds make a run repeatable on one machine.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import yaml

from banana_delivery.sample_data.leaves import CLASSES, HOLDOUT_COUNT, HOLDOUT_SEED, write_dataset
from examples.quiet import untrained

MODELS = Path(__file__).parent / "models"
INPUT_SIZE = 160
WIDTH_MULTIPLIER = 0.1875  # yolo26n has 0.25: leaves need less, and the repository carries the weights.


@dataclass(frozen=True)
class Recipe:
    """How one sample is trained.

    Attributes:
        images: size of the training set.
        epochs: passes over it.
        seed: of the training set and of the training; never `HOLDOUT_SEED`.
        mislabelled: share of the training boxes that carry the other class.
    """

    images: int
    epochs: int
    seed: int
    mislabelled: float = 0.0


RECIPES = {
    "modest": Recipe(images=800, epochs=12, seed=11),
    "better": Recipe(images=1500, epochs=12, seed=12),
    "regressed": Recipe(images=800, epochs=12, seed=13, mislabelled=0.3),
}


def train(name: str, to: Path = MODELS) -> dict[str, Any]:
    """Train sample ``name`` and write ``best.pt`` and ``metrics.json`` into ``to / name``; return the metrics."""
    recipe = RECIPES[name]
    with tempfile.TemporaryDirectory(prefix="leaf-training-") as scratch:
        work = Path(scratch)
        started = time.monotonic()
        model = untrained("yolo26", WIDTH_MULTIPLIER, len(CLASSES), work)
        validation = model.train(**_training_arguments(recipe, work))
        metrics = {
            "mAP50": round(float(validation.box.map50), 4),
            "mAP50_by_class": {
                CLASSES[kind]: round(float(precision), 4)
                for kind, precision in zip(validation.box.ap_class_index, validation.box.ap50, strict=True)
            },
            "holdout": {"images": HOLDOUT_COUNT, "seed": HOLDOUT_SEED},
            "training": asdict(recipe),
            "seconds": round(time.monotonic() - started),
        }
        (to / name).mkdir(parents=True, exist_ok=True)
        _save_weights(work / "run" / "weights" / "best.pt", to / name / "best.pt")
    (to / name / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    return metrics


def swap_classes(labels: Path, share: float, seed: int) -> None:
    """Give ``share`` of the boxes in a folder of YOLO label files the other class, as a careless annotator would."""
    rng = np.random.default_rng(seed)
    for file in sorted(labels.glob("*.txt")):
        lines = file.read_text().splitlines()
        swapped = [_swap(line) if rng.random() < share else line for line in lines]
        file.write_text("".join(f"{line}\n" for line in swapped))


def _swap(line: str) -> str:
    kind, box = line.split(" ", 1)
    return f"{len(CLASSES) - 1 - int(kind)} {box}"


def _training_arguments(recipe: Recipe, work: Path) -> dict[str, Any]:
    write_dataset(work / "train", recipe.images, recipe.seed)
    swap_classes(work / "train" / "labels", recipe.mislabelled, recipe.seed)
    write_dataset(work / "holdout", HOLDOUT_COUNT, HOLDOUT_SEED)
    data = {"path": str(work), "train": "train/images", "val": "holdout/images", "names": dict(enumerate(CLASSES))}
    (work / "leaves.yaml").write_text(yaml.safe_dump(data))
    return {
        "data": str(work / "leaves.yaml"),
        "project": str(work),
        "name": "run",
        "imgsz": INPUT_SIZE,
        "epochs": recipe.epochs,
        "seed": recipe.seed,
        "batch": 16,
        "device": "cpu",
        "workers": 1,
        "cache": "ram",
        "optimizer": "AdamW",
        "lr0": 0.002,
        "cos_lr": True,
        "warmup_epochs": 1,
        "mosaic": 0.0,
        "flipud": 0.5,
        "val": False,
        "plots": False,
    }


def _save_weights(trained: Path, to: Path) -> None:
    """Keep what a detector is, and drop what belongs to this machine: paths, repository, dates."""
    import torch  # heavy, and needed for training alone

    checkpoint = torch.load(trained, map_location="cpu", weights_only=False)
    local = ("data", "project", "name", "save_dir", "model")
    arguments = {key: value for key, value in checkpoint["train_args"].items() if key not in local}
    model = checkpoint["model"]
    model.yaml["yaml_file"] = "yolo26n.yaml"
    model.args = arguments
    kept = {key: checkpoint[key] for key in ("version", "license", "docs", "epoch", "train_metrics")}
    torch.save({**kept, "model": model, "ema": None, "optimizer": None, "train_args": arguments}, to)


def main(sample: Annotated[str, typer.Argument(help=f"One of {', '.join(RECIPES)}, or all.")]) -> None:
    """Train sample models and write them where the repository keeps them."""
    if sample not in {*RECIPES, "all"}:
        raise typer.BadParameter(f"There is no sample {sample!r}: choose one of {', '.join(RECIPES)}, or all.")
    for name in RECIPES if sample == "all" else [sample]:
        print(name, json.dumps(train(name)))


if __name__ == "__main__":
    typer.run(main)
