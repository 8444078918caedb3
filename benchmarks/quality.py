"""How often the quality gates are right: equal models pass, and a model worse by twice the margin fails.

``python -m benchmarks.quality --deliveries 100`` makes up labelled images of three classes, of which one has 3 % of the
objects, and pairs of models of known quality; it prints how often each pair is passed, parked and turned back, at 300,
1,000 and 3,000 images, how often the 90 % interval of mAP50 covers the truth, and writes the same as JSON.

Objects of one image are alike (an image is easy or hard for both models), siblings miss mostly the same objects, and a
model trained anew misses others: that is what makes intervals of real models wider than counting objects would.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from banana_delivery.policy.quality.average_precision import average_precisions
from banana_delivery.policy.quality.comparison import QualityComparison, compare
from banana_delivery.policy.quality.gates import QualityVerdict
from banana_delivery.policy.quality.margins import QualityMargins
from banana_delivery.policy.quality.matching import Detections, Floats, Labelled, Matches, Truth, match_answers

CLASSES = ("streak", "lesion", "rare")
SHARES = (0.60, 0.37, 0.03)
SIZES = (300, 1000, 3000)
SIDE = 640
OBJECTS_PER_IMAGE = 3.0
TRUTH_IMAGES = 6000
"""On so many images the true figures of a model are measured, once."""


@dataclass(frozen=True)
class Model:
    """A made-up detector.

    Attributes:
        skill: mean of how visible an object has to be, the higher the better.
        own: share of what decides about an object that is this model's own luck: 0.3 for a sibling, 0.6 anew.
        false_rate: false boxes above the default confidence, by image.
        noise: by which its boxes are off, in pixels for each 100 of the object's side.
        worse_class: number of a class that it knows less well; -1 for none.
        worse_by: how much less, in the unit of ``skill``.
        scale: by which its scores are multiplied.
        shift: by which its boxes are moved, as a share of their width.
    """

    skill: float = 1.3
    own: float = 0.3
    false_rate: float = 0.35
    noise: float = 5.0
    worse_class: int = -1
    worse_by: float = 0.0
    scale: float = 1.0
    shift: float = 0.0


@dataclass(frozen=True)
class Scene:
    """An image with what all models have in common about it."""

    truth: Truth
    visible: Floats
    false_boxes: Floats


def scenes(count: int, seed: int) -> list[Scene]:
    """So many images; the same seed gives the same ones."""
    rng = np.random.default_rng([seed, 1])
    return [_scene(rng) for _ in range(count)]


def _scene(rng: np.random.Generator) -> Scene:
    objects = int(rng.poisson(OBJECTS_PER_IMAGE))
    side = np.exp(rng.normal(np.log(60), 0.6, (objects, 1)))
    corners = rng.uniform(0, SIDE - 60, (objects, 2))
    boxes = np.hstack([corners, corners + side * np.exp(rng.normal(0, 0.2, (objects, 2)))])
    easy = rng.normal(0, 0.5)
    visible = easy + rng.normal(0, 0.85, objects)
    return Scene(
        Truth(boxes, rng.choice(len(CLASSES), objects, p=SHARES), np.array([SIDE, SIDE])),
        visible,
        rng.uniform(0, SIDE - 80, (4, 2)),
    )


def answers(model: Model, shown: list[Scene], seed: int) -> Matches:
    """What a model says about images; another seed is another training run."""
    rng = np.random.default_rng([seed, 2])
    labelled = [Labelled(f"{index}", scene.truth, _answer(model, scene, rng)) for index, scene in enumerate(shown)]
    return match_answers(labelled, CLASSES)


def _answer(model: Model, scene: Scene, rng: np.random.Generator) -> Detections:
    truth, count = scene.truth, len(scene.truth.classes)
    luck = np.sqrt(1 - model.own**2) * scene.visible + model.own * rng.normal(0, 1, count)
    score = _squashed(luck + model.skill - model.worse_by * (truth.classes == model.worse_class))
    sides = truth.boxes[:, 2:] - truth.boxes[:, :2]
    moved = truth.boxes + np.tile(sides, 2) * rng.normal(0, model.noise / 100, (count, 4))
    moved[:, [0, 2]] += model.shift * sides[:, :1]
    false = rng.random(len(scene.false_boxes)) < 2 * model.false_rate / len(scene.false_boxes)
    corners = scene.false_boxes[false]
    # Half of what is wrong is just below what users see.
    false_scores = _squashed(rng.normal(-1.1, 0.8, len(corners)))
    named = np.where(rng.random(count) < 0.02, (truth.classes + 1) % len(CLASSES), truth.classes)
    return Detections(
        np.vstack([moved, np.hstack([corners, corners + 60])]),
        np.concatenate([named, rng.choice(len(CLASSES), len(corners), p=SHARES)]),
        model.scale * np.concatenate([score, false_scores]),
    )


def _squashed(value: Floats) -> Floats:
    result: Floats = 1 / (1 + np.exp(-2 * value))
    return result


EQUAL, ANEW = Model(), Model(own=0.6)
DROPS = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Losses of skill at which true figures are measured."""
GROSS = {"scores x 0.3": replace(EQUAL, scale=0.3), "boxes moved by a third": replace(EQUAL, shift=1 / 3)}


@cache
def true_losses(klass: int) -> list[float]:
    """The true loss of mAP50 at each of ``DROPS`` of all classes (-1), or the loss of AP50 of the class that drops."""
    shown = scenes(TRUTH_IMAGES, seed=999)
    worse = [replace(EQUAL, skill=EQUAL.skill - drop) if klass < 0 else
             replace(EQUAL, worse_class=klass, worse_by=drop) for drop in DROPS]  # fmt: skip
    found = [average_precisions(answers(model, shown, seed=5)) for model in worse]
    figures = [float(one[0].mean() if klass < 0 else one[0, klass]) for one in found]
    return [figures[0] - figure for figure in figures]


def worse_by(loss: float, klass: int) -> Model:
    """A model that is worse by so much, of all classes (-1) or of one."""
    drop = float(np.interp(loss, true_losses(klass), DROPS))
    return replace(EQUAL, skill=EQUAL.skill - drop) if klass < 0 else replace(EQUAL, worse_class=klass, worse_by=drop)


def deliver(images: int, candidate: Model, production: Model, resamples: int, seed: int) -> QualityComparison:
    """One comparison on images of its own."""
    shown = scenes(images, seed)
    return compare(
        answers(candidate, shown, 2 * seed + 1), answers(production, shown, 2 * seed), resample_count=resamples
    )


def margin_in_force(found: list[QualityComparison], metric: str, name: str = "") -> float:
    """The usual margin of a gate among deliveries of equal models."""
    return float(
        np.median([g.margin for one in found for g in one.gates if (g.metric, g.class_name) == (metric, name)])
    )


def row(images: int, what: str, found: list[QualityComparison], loss: float) -> dict[str, object]:
    """What became of deliveries of one kind."""
    verdicts = [one.verdict for one in found]
    shares = {verdict.value: round(verdicts.count(verdict) / len(verdicts), 3) for verdict in QualityVerdict}
    covers = [one.quantile_5 <= -loss <= one.quantile_95 for one in found]
    by = [g.metric for one in found for g in one.gates if g.verdict is not QualityVerdict.NOT_WORSE]
    return {
        "images": images,
        "candidate": what,
        "deliveries": len(found),
        **shares,
        "covers": round(float(np.mean(covers)), 3) if loss >= 0 else None,
        "gates": {metric: by.count(metric) for metric in sorted(set(by))},
    }


def measure(images: int, deliveries: int, resamples: int, workers: int) -> list[dict[str, object]]:
    """All kinds of pairs at one number of images."""
    with ProcessPoolExecutor(workers, initializer=os.nice, initargs=(19,)) as pool:

        def run(candidate: Model, production: Model = EQUAL) -> list[QualityComparison]:
            work = partial(deliver, images, candidate, production, resamples)
            return list(pool.map(work, range(1, deliveries + 1)))

        equal = run(EQUAL)
        overall, rare = margin_in_force(equal, "map50"), margin_in_force(equal, "class_ap50", CLASSES[-1])
        rows = [row(images, "equal, a sibling", equal, 0.0), row(images, "equal, trained anew", run(ANEW, ANEW), 0.0)]
        rows.append(row(images, f"mAP50 worse by {2 * overall:.3f}", run(worse_by(2 * overall, -1)), 2 * overall))
        rows.append(row(images, f"rare class worse by {2 * rare:.3f}", run(worse_by(2 * rare, len(CLASSES) - 1)), -1.0))
        return rows + [row(images, what, run(model), -1.0) for what, model in GROSS.items()]


def main(
    deliveries: Annotated[int, typer.Option(help="Of each kind.")] = 100,
    resamples: Annotated[int, typer.Option(help="Of each comparison; the product takes 2,000.")] = 400,
    sizes: Annotated[str, typer.Option(help="Numbers of images.")] = ",".join(map(str, SIZES)),
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
    out: Annotated[Path, typer.Option(help="Figures as JSON.")] = Path("docs/quality-benchmark.json"),
) -> None:
    """Measure how often the gates are right."""
    console, rows = Console(), list[dict[str, object]]()
    for images in map(int, sizes.split(",")):
        rows += measure(images, deliveries, resamples, workers)
        console.print(*(json.dumps(one) for one in rows[-6:]), sep="\n")
    table = Table("images", "candidate", "passed", "parked", "turned back", "interval covers")
    for one in rows:
        table.add_row(
            *(str(one[key]) for key in ("images", "candidate", "not_worse", "inconclusive", "worse", "covers"))
        )
    console.print(table)
    margins = QualityMargins().model_dump()
    out.write_text(
        json.dumps({"shares": dict(zip(CLASSES, SHARES, strict=True)), "margins": margins, "rows": rows}, indent=1)
    )


if __name__ == "__main__":
    typer.run(main)
