"""How often the quality gates are right: equal models pass, and a model worse by twice the margin does not.

``python -m benchmarks.quality --deliveries 100`` makes up labelled images of three classes, of which one has 3 % of the
objects, and pairs of models of known quality; it counts how often each pair is passed, parked and turned back, at 300,
1,000 and 3,000 images, asked about by stages, how often the 90 % interval of mAP50 covers the truth, and writes the
same as JSON.

Objects of one image are alike (an image is easy or hard for both models), siblings miss mostly the same objects, and a
model trained anew misses others: that is what makes intervals of real models wider than counting objects would.

All models answer one large pool of images, and each delivery draws its hold-out from that, with replacement. So what
is true of a pair is known exactly: it is what they do on the whole pool. Equal models are made so exactly: the pool is
there twice, and the second time each has the answers of the other.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from banana_delivery.policy.quality.average_precision import average_precisions
from banana_delivery.policy.quality.comparison import compare
from banana_delivery.policy.quality.gates import QualityVerdict
from banana_delivery.policy.quality.margins import QualityMargins
from banana_delivery.policy.quality.matching import (
    Detections,
    Floats,
    Integers,
    Labelled,
    Matches,
    Truth,
    match_answers,
)
from banana_delivery.policy.quality.stages.looks import looks
from banana_delivery.policy.quality.stages.parts import chosen, joined

CLASSES = ("streak", "lesion", "rare")
SHARES = (0.60, 0.37, 0.03)
SIZES = (300, 1000, 3000)
SIDE = 640
OBJECTS_PER_IMAGE = 3.0
POOL = 10_000
"""Images that hold-outs are drawn from."""
TRIED = 3000
"""Images on which it is tried how much worse a model has to be made for a loss."""


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
DROPS = (0.0, 0.2, 0.5, 1.0)
"""Losses of skill that are tried."""
MARGINS = QualityMargins()
PAIRS = {
    "equal, a sibling": ("sibling", "production"),
    "equal, trained anew": ("anew", "anew before"),
    "mAP50 worse by twice the margin": ("worse", "production"),
    "rare class worse by twice the margin": ("rare worse", "production"),
    "scores x 0.3": ("dim", "production"),
    "boxes moved by a third": ("moved", "production"),
}
"""Candidate and production of each kind of delivery."""
EQUALS = ("equal, a sibling", "equal, trained anew")
ASKED = "images asked about, mean"
GROSS = ("scores x 0.3", "boxes moved by a third")
"""What needs no hundred trials: a tenth of the deliveries are of these."""


def precision(model: Model, shown: list[Scene], klass: int) -> float:
    """The true mAP50 of all classes (-1), or the AP50 of one."""
    found = average_precisions(answers(model, shown, seed=5))[0]
    return float(found.mean() if klass < 0 else found[klass])


def worse_by(loss: float, klass: int) -> Model:
    """A model that is worse by so much, of all classes (-1) or of one."""
    shown = scenes(TRIED, seed=998)
    tried = [
        replace(EQUAL, skill=EQUAL.skill - drop) if klass < 0 else replace(EQUAL, worse_class=klass, worse_by=drop)
        for drop in DROPS
    ]
    found = [precision(model, shown, klass) for model in tried]
    drop = float(np.interp(loss, [found[0] - one for one in found], DROPS))
    return replace(EQUAL, skill=EQUAL.skill - drop) if klass < 0 else replace(EQUAL, worse_class=klass, worse_by=drop)


@cache
def pool() -> dict[str, Matches]:
    """What each model says of all images."""
    shown = scenes(POOL, seed=999)
    models = {
        "production": EQUAL,
        "sibling": EQUAL,
        "anew before": ANEW,
        "anew": ANEW,
        "worse": worse_by(2 * MARGINS.map50, -1),
        "rare worse": worse_by(2 * MARGINS.class_ap50, len(CLASSES) - 1),
        "dim": replace(EQUAL, scale=0.3),
        "moved": replace(EQUAL, shift=1 / 3),
    }
    found = {name: answers(model, shown, seed) for seed, (name, model) in enumerate(models.items())}
    for one, other in (PAIRS[pair] for pair in EQUALS):
        found[f"{one}, equal"], found[f"{other}, equal"] = _both(found[one], found[other])
    return found


def _both(one: Matches, other: Matches) -> tuple[Matches, Matches]:
    """The answers of each to all images, and behind them those of the other to the same."""
    again = [replace(each, names=tuple(f"again-{name}" for name in each.names)) for each in (one, other)]
    return joined(one, again[1]), joined(other, again[0])


def answering(pair: str) -> tuple[Matches, Matches]:
    """The answers of candidate and production to the whole pool."""
    ending = ", equal" if pair in EQUALS else ""
    candidate, production = (pool()[name + ending] for name in PAIRS[pair])
    return candidate, production


@cache
def true_losses(pair: str) -> Floats:
    """The AP50 that the candidate of a pair really loses, by class."""
    ours, theirs = (average_precisions(one)[0] for one in answering(pair))
    lost: Floats = theirs - ours
    return lost


def drawn(whole: Matches, images: Integers) -> Matches:
    """The same answers for a hold-out of these images of the pool, of which some come twice."""
    return replace(chosen(whole, images), names=tuple(f"{number}" for number in range(len(images))))


def deliver(work: tuple[str, int, int, int]) -> dict[str, object]:
    """One comparison: the pair, the number of images, of resamples, and of the delivery."""
    pair, images, resamples, seed = work
    candidate, production = answering(pair)
    holdout = np.random.default_rng([seed, images]).integers(len(candidate.names), size=images)
    for look in looks(images, MARGINS.stages):
        shown = holdout[: look.images]
        found = compare(drawn(candidate, shown), drawn(production, shown), resample_count=resamples, look=look)
        if found.verdict is not QualityVerdict.INCONCLUSIVE:
            break
    weights = np.array([one.weight for one in found.per_class.values()])
    truth = -float((true_losses(pair) * weights).sum() / weights.sum())
    stopped = [gate.metric for gate in found.gates if gate.verdict is not QualityVerdict.NOT_WORSE]
    return {
        "verdict": found.verdict.value,
        "covers": found.quantile_5 <= truth <= found.quantile_95,
        "missable": found.gates[0].missable,
        "gates": sorted(set(stopped)),
        "asked": found.images,
    }


def row(pair: str, images: int, found: Sequence[dict[str, object]]) -> dict[str, object]:
    """What became of the deliveries of one kind."""
    verdicts = [one["verdict"] for one in found]
    named = [str(gate) for one in found for gate in cast("list[str]", one["gates"])]
    return {
        "images": images,
        "candidate": pair,
        "true loss of mAP50": round(float(true_losses(pair).mean()), 4),
        "true loss by class": [round(float(loss), 4) for loss in true_losses(pair)],
        "deliveries": len(found),
        **{verdict.value: round(verdicts.count(verdict.value) / len(found), 3) for verdict in QualityVerdict},
        "covers": round(float(np.mean([bool(one["covers"]) for one in found])), 3),
        "could be missed, median": round(float(np.median([cast("float", one["missable"]) for one in found])), 4),
        ASKED: round(float(np.mean([cast("int", one["asked"]) for one in found]))),
        "stopped by": {gate: named.count(gate) for gate in sorted(set(named))},
    }


def main(
    deliveries: Annotated[str, typer.Option(help="Of each kind, for each number of images.")] = "100,100,100",
    resamples: Annotated[int, typer.Option(help="Of each comparison; the product takes 2,000.")] = 400,
    sizes: Annotated[str, typer.Option(help="Numbers of images.")] = ",".join(map(str, SIZES)),
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
    out: Annotated[Path, typer.Option(help="Figures as JSON.")] = Path("benchmarks/out/quality.json"),
) -> None:
    """Measure how often the gates are right."""
    console, rows = Console(), list[dict[str, object]]()
    for pair in PAIRS:
        console.print(pair, true_losses(pair).round(4))
    forked = multiprocessing.get_context("fork")  # So that all share the pool.
    with ProcessPoolExecutor(workers, mp_context=forked, initializer=os.nice, initargs=(19,)) as processes:
        for images, count in zip(map(int, sizes.split(",")), map(int, deliveries.split(",")), strict=True):
            for pair in PAIRS:
                trials = max(1, count // 10) if pair in GROSS else count
                work = [(pair, images, resamples, seed) for seed in range(trials)]
                rows.append(row(pair, images, list(processes.map(deliver, work))))
                console.print(json.dumps(rows[-1]))
                _keep(out, rows, resamples)
    titles = (
        "images",
        "candidate",
        "passed",
        "parked",
        "turned back",
        "interval covers",
        "could be missed",
        "asked about",
    )
    verdicts = (QualityVerdict.NOT_WORSE, QualityVerdict.INCONCLUSIVE, QualityVerdict.WORSE)
    keys = ("images", "candidate", *verdicts, "covers", "could be missed, median", ASKED)
    table = Table(*titles)
    for one in rows:
        table.add_row(*(str(one[key]) for key in keys))
    console.print(table)


def _keep(out: Path, rows: Sequence[dict[str, object]], resamples: int) -> None:
    said = {
        "shares": dict(zip(CLASSES, SHARES, strict=True)),
        "objects per image": OBJECTS_PER_IMAGE,
        "resamples": resamples,
        "margins": MARGINS.model_dump(),
        "rows": rows,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
