"""What all plots share: colours that mean something, a quiet style, and the way to bytes and into markdown."""

from __future__ import annotations

import base64
import io
import textwrap
from typing import TYPE_CHECKING

from banana_delivery.policy.records import Colour

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
DPI = 110
REASON_CHARACTERS = 132
HEADLINE_INCHES = 0.36


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches that lays itself out; no global state, so that threads may draw.

    matplotlib is imported here, because loading the code location must not pay for plots.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")


def headline(figure: Figure, text: str, reason: str, colour: str) -> None:
    """What the plot says in large print, and why in small print below it; room for both is kept free."""
    lines = textwrap.wrap(reason, REASON_CHARACTERS)
    figure.suptitle(text + "\n" * (1 + len(lines)), x=0.01, ha="left", fontsize=13, fontweight="bold", color=colour)
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


def embedded(image: bytes, alt: str) -> str:
    """A PNG as markdown that carries its own picture, for metadata that has no files beside it."""
    return f"![{alt}]({data_uri(image)})"


def data_uri(image: bytes) -> str:
    """A PNG as an address that is the picture itself."""
    return f"data:image/png;base64,{base64.b64encode(image).decode('ascii')}"
