"""What all plots share: colours that mean something, a quiet style, and the way to bytes, into markdown and a page."""

from __future__ import annotations

import base64
import io
import re
import textwrap
from typing import TYPE_CHECKING

from banana_delivery.policy.model import Colour
from banana_delivery.quoting import MOST_IN_LINE, in_html, in_markdown, in_plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#24292f"
FAINT = "#8c959f"
GRID = "#e7eaee"
BAD = "#cf222e"
GOOD = "#1a7f37"
DOUBT = "#9a6700"
COLOURS = {Colour.BLUE: "#3b78d8", Colour.GREEN: "#3a9d5d", Colour.SOLE: "#7d6bb0"}
PAPER = "#ffffff"
THEME = {
    INK: "ink",
    FAINT: "faint",
    GRID: "grid",
    PAPER: "paper",
    BAD: "bad",
    GOOD: "good",
    DOUBT: "doubt",
    **{value: str(colour) for colour, value in COLOURS.items()},
}
"""What a page calls each of them, so that it can have its own for the dark."""
DPI = 110
INLINE_BYTES = 29_000
"""Of a picture in an event: less than 40 kB as the text that markdown needs. The whole picture is in the report."""
INLINE_WIDTHS = (880, 720, 560, 400, 240)
INLINE_COLOURS = 48
REASON_CHARACTERS = 132
HEADLINE_INCHES = 0.36
LONGEST_LABEL = 40
"""Characters of a class's name; a longer one would leave no room for the bars."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches that lays itself out; no global state, so that threads may draw.

    matplotlib is imported here, because loading the code location must not pay for plots.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")


def headline(figure: Figure, text: str, reason: str, colour: str) -> None:
    """What the plot says in large print, and why in small print below it; room for both is kept free."""
    lines = textwrap.wrap(in_plot(reason, MOST_IN_LINE), REASON_CHARACTERS)
    figure.suptitle(
        in_plot(text) + "\n" * (1 + len(lines)), x=0.01, ha="left", fontsize=13, fontweight="bold", color=colour
    )
    below = 1 - HEADLINE_INCHES / figure.get_figheight()
    figure.text(0.01, below, "\n".join(lines), va="top", fontsize=9, color=INK, linespacing=1.4)


def quiet(axes: Axes, *, grid: str = "y") -> None:
    """Leave only what helps to read values."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.set_axisbelow(True)
    if grid == "x":
        axes.xaxis.grid(visible=True, color=GRID, linewidth=1)
    else:
        axes.yaxis.grid(visible=True, color=GRID, linewidth=1)


def png(figure: Figure) -> bytes:
    """The figure as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def svg(figure: Figure, alt: str) -> str:
    """The figure as an element of a page: text stays text, and its colours are the page's, in light and in the dark.

    Args:
        figure: to be drawn.
        alt: what it shows, for who does not see it.
    """
    import matplotlib

    # Read where the file is written, by every thread the same.
    matplotlib.rcParams["svg.fonttype"] = "none"
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawn = buffer.getvalue()
    body = drawn[drawn.index(">", drawn.index("<svg")) + 1 :].replace("\n", " ")
    for colour, name in THEME.items():
        body = body.replace(colour, f"var(--{name})")
    meant = set(_REFERENCE.findall(body))
    # Two pictures of one page must not have the same names, and most of them nobody asks for.
    body = _NAMED.sub(lambda named: named[0] if named[1] in meant else "", body)
    width, height = (72 * inches for inches in figure.get_size_inches())
    box = f'viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{in_html(alt)}"'
    return f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg" {box}>{body.strip()}'


_REFERENCE = re.compile(r"#([\w-]+)")
_NAMED = re.compile(r' id="([^"]*)"')


def small(image: bytes) -> bytes:
    """A picture for Dagster's event log, whose pages cannot load a file: reduced until it may be kept there.

    Args:
        image: as it was drawn; what is small enough stays as it is.
    """
    if len(image) <= INLINE_BYTES:
        return image
    from PIL import Image

    with Image.open(io.BytesIO(image)) as drawn:
        picture = drawn.convert("RGB")
    for width in INLINE_WIDTHS:
        height = round(picture.height * width / picture.width)
        reduced = picture.resize((width, height), Image.Resampling.LANCZOS).quantize(INLINE_COLOURS)
        buffer = io.BytesIO()
        reduced.save(buffer, format="png", optimize=True)
        if buffer.tell() <= INLINE_BYTES:
            break
    return buffer.getvalue()


def embedded(image: bytes, alt: str) -> str:
    """A PNG as markdown that carries its own picture, for metadata that has no files beside it."""
    return f"![{in_markdown(alt)}]({data_uri(image)})"


def data_uri(image: bytes) -> str:
    """A PNG as an address that is the picture itself."""
    return f"data:image/png;base64,{base64.b64encode(image).decode('ascii')}"
