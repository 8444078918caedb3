import io

import numpy as np
import pytest
from PIL import Image

from banana_delivery.policy.asset_records import ShiftStep
from banana_delivery.policy.model import Colour
from banana_delivery.policy.quality.gates import QualityVerdict
from banana_delivery.policy.rollout.decision import ActionKind
from banana_delivery.reports.plots import _why, quality_plot, rollout_plot
from banana_delivery.reports.style.pictures import BAD, DOUBT, GOOD, embedded, small
from tests.unit.reports import scenes

SIZE_LIMIT = 100_000


def share_of(png: bytes, colour: str) -> float:
    """The share of the picture's pixels that have exactly this colour."""
    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image.convert("RGB"))
    wanted = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    return float((pixels == wanted).all(axis=2).mean())


def drawn(steps: tuple[ShiftStep, ...]) -> bytes:
    return rollout_plot(steps, Colour.GREEN, budget_seconds=1.0, title="Version 7")


def test_a_promotion_is_drawn_in_green_and_small_enough_for_metadata() -> None:
    png = drawn(scenes.promoted_steps())
    assert len(png) < SIZE_LIMIT
    assert share_of(png, GOOD) > 0.001


def test_a_rollback_stands_out_in_red() -> None:
    png = drawn(scenes.rolled_back_steps())
    assert share_of(png, BAD) > 0.003
    assert share_of(png, GOOD) == 0


def test_a_rollout_without_any_traffic_can_be_drawn() -> None:
    silent = scenes.traffic(0, p95=None)
    one = scenes.step(20, 0.0, ActionKind.PARK)
    metrics = one.metrics.replace(requests=0, p95_seconds=None, active=silent, sources={})
    assert share_of(drawn((one.replace(metrics=metrics),)), DOUBT) > 0


@pytest.mark.parametrize("noise", [1.5, 7.0])
def test_quality_is_drawn_small_enough_for_metadata(noise: float) -> None:
    comparison = scenes.comparison(noise)
    png = quality_plot(comparison)
    assert len(png) < SIZE_LIMIT
    assert share_of(png, BAD) > 0.001


def test_a_class_that_no_image_shows_is_said_to_be_missing_not_zero() -> None:
    comparison = scenes.comparison(1.5)
    streak = comparison.per_class["streak"].replace(candidate=None, production=None, objects=0)
    without = comparison.replace(per_class={**comparison.per_class, "streak": streak})
    assert quality_plot(without) != quality_plot(comparison)


def test_a_picture_travels_within_markdown() -> None:
    assert embedded(b"abc", "Rollout") == "![Rollout](data:image/png;base64,YWJj)"


@pytest.mark.parametrize("noise", [1.5, 7.0])
def test_a_picture_in_the_event_log_takes_less_than_40_kb_and_can_still_be_read(noise: float) -> None:
    png = quality_plot(scenes.comparison(noise))

    reduced = small(png)

    assert len(embedded(reduced, "Quality beside production")) < 40_000
    with Image.open(io.BytesIO(reduced)) as picture:
        assert picture.width >= 560


def test_a_picture_of_a_long_rollout_and_one_of_noise_are_reduced_until_they_fit() -> None:
    many = tuple(scenes.step(20 + n, 3.0, ActionKind.SET_WEIGHT, failed=n % 3) for n in range(40))
    noise = Image.effect_noise((1100, 726), 90.0)
    buffer = io.BytesIO()
    noise.save(buffer, format="png")

    assert len(small(drawn(many))) < 30_000
    assert len(small(buffer.getvalue())) < 30_000


def test_a_small_picture_stays_as_it_was_drawn() -> None:
    assert small(b"a picture") == b"a picture"


def test_a_class_that_looks_like_a_formula_or_is_a_book_is_drawn_all_the_same() -> None:
    comparison = scenes.quality(7.0).comparison
    assert comparison is not None
    names = ["$\\frac{$", "$x^{$", "a" * 5_000, "\x00\x1b[31m"]
    one = next(iter(comparison.per_class.values()))
    strange = comparison.replace(per_class=dict.fromkeys(names, one), reason="$\\frac{$")
    with Image.open(io.BytesIO(quality_plot(strange))) as image:
        assert image.width > image.height


def test_a_verdict_that_another_gate_brought_about_is_told_in_the_words_of_that_gate() -> None:
    comparison = scenes.comparison(1.5)
    assert _why(comparison) == comparison.reason.split(". ")[0].rstrip(".") + "."
    gate = comparison.gates[1].replace(verdict=QualityVerdict.WORSE, reason="Recall is lost.")
    gates = (comparison.gates[0], gate, *comparison.gates[2:])
    assert _why(comparison.replace(verdict=QualityVerdict.WORSE, gates=gates)) == "Recall is lost."
    assert _why(comparison.replace(gates=())) == _why(comparison)
