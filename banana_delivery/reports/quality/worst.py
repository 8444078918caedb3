"""The images on which two models differ most, with boxes: each author has a colour and a line of its own.

The colours are told apart by whoever sees fewer of them, and the lines by whoever sees none; a dark edge keeps both in
sight on any leaf. What somebody got wrong is drawn thick.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from banana_delivery.evaluation.worst import WorstImage, WorstImages
from banana_delivery.policy.quality.boxes import Author, ShownBox, errors_of
from banana_delivery.policy.quality.comparison import QualityComparison
from banana_delivery.policy.quality.disagreements import Disagreement
from banana_delivery.quoting import in_html

UNITS = 400.0
"""Of the longer side of a picture, in which lines are as wide as they are on a page."""
NUDGES = {Author.LABEL: 0.0, Author.PRODUCTION: -4.0, Author.CANDIDATE: 4.0}
"""By which boxes are drawn larger, in the same units: three that agree would hide each other."""
LEGEND = {Author.LABEL: "label", Author.PRODUCTION: "production", Author.CANDIDATE: "candidate"}


def worst_images(kept: WorstImages, comparison: QualityComparison, holdout: str) -> Iterator[str]:
    """What a page shows of them; nothing where nobody kept any of this comparison.

    Args:
        kept: what there is.
        comparison: on record.
        holdout: digest of the labelled images that it was made on.
    """
    if kept.trouble:
        yield f"<p>{in_html(kept.trouble)}</p>"
    if images := kept.of(comparison, holdout):
        yield f'<p class="legend">{_legend()} Thick lines are errors.</p>'
        yield f'<div class="worst">{"".join(_figure(image) for image in images)}</div>'


def _legend() -> str:
    lines = "".join(
        f'<span><svg viewBox="0 0 44 14" aria-hidden="true">{_lines("M3 7h38", author)}</svg>{in_html(name)}</span> '
        for author, name in LEGEND.items()
    )
    return lines.rstrip()


def _figure(image: WorstImage) -> str:
    told = [f"{LEGEND[author]}: {errors_of(author, image.boxes)}" for author in (Author.CANDIDATE, Author.PRODUCTION)]
    told = told if image.boxes else _counts(image.errors)
    lines = "<br>".join(map(in_html, [*told, image.trouble] if image.trouble else told))
    caption = f"<figcaption><b>{in_html(image.errors.image)}</b><br>{lines}"
    if image.trouble:
        return f"<figure>{caption}</figcaption></figure>"
    return f"<figure>{_picture(image)}{caption}</figcaption></figure>"


def _counts(errors: Disagreement) -> list[str]:
    return [
        f"candidate: missed {errors.candidate_missed}, found {errors.candidate_false} that are not there",
        f"production: missed {errors.production_missed}, found {errors.production_false} that are not there",
    ]


def _picture(image: WorstImage) -> str:
    scale = UNITS / max(image.width, image.height)
    width, height = image.width * scale, image.height * scale
    alt = f"{image.errors.image}, with the boxes of its labels, of production and of the candidate"
    # By rounding, a small picture has another form than the large one by up to a pixel: it is made to fit its boxes.
    photo = f'<image href="data:image/jpeg;base64,{image.jpeg}" width="{width:g}" height="{height:g}"'
    drawn = "".join(_boxes(image.boxes, author, scale) for author in Author)
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{in_html(alt)}">'
        f'{photo} preserveAspectRatio="none"/>{drawn}</svg>'
    )


def _boxes(boxes: Sequence[ShownBox], author: Author, scale: float) -> str:
    of_author = [box for box in boxes if box.author is author]
    drawn = ""
    for wrong in (False, True):
        if path := _path((box for box in of_author if box.wrong is wrong), scale, NUDGES[author]):
            drawn += _lines(path, author, wrong=wrong)
    return drawn


def _lines(path: str, author: Author, *, wrong: bool = False) -> str:
    thick = " wrong" if wrong else ""
    return f'<path class="edge{thick}" d="{path}"/><path class="{author}{thick}" d="{path}"/>'


def _path(boxes: Iterable[ShownBox], scale: float, nudge: float) -> str:
    parts = []
    for box in boxes:
        x1, y1, x2, y2 = (edge * scale for edge in box.corners)
        by = max(nudge, -(x2 - x1) / 4, -(y2 - y1) / 4)  # Something is left of a small box.
        width, height = x2 - x1 + 2 * by, y2 - y1 + 2 * by
        parts.append(f"M{x1 - by:.1f} {y1 - by:.1f}h{width:.1f}v{height:.1f}h{-width:.1f}z")
    return "".join(parts)
