"""The picture of what ``make simulate`` wrote: how many sound releases each rule turns back.

.venv/bin/python -m benchmarks.decisions_figure [--out docs/images/false-alarms.svg]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from benchmarks.decisions import OUT
from benchmarks.decisions_peers import PEERS

RATES = (5.0, 50.0, 500.0)
"""Users' requests a second that have a panel of their own."""
OURS = "banana-delivery"
UNREAD = "the candidate fails"
"""How the rows of the peers begin that are not of a sound candidate."""


def shares(tables: dict[str, list[dict[str, object]]], users: float) -> tuple[list[str], NDArray[np.float64]]:
    """Percent of sound releases that are turned back.

    Args:
        tables: as ``benchmarks.decisions`` wrote them.
        users: requests a second.

    Returns:
        The conditions, and a row for each with a column for us and each of ``PEERS``; NaN for what was not played.
    """
    played = {row["condition"]: row for row in tables["dependence"] if row["users/s"] == users and row["deliveries"]}
    peers = {row["condition"]: row for row in tables["peers"] if row["users/s"] == users}
    names = [str(name) for name in played if not str(name).startswith(UNREAD)]
    found = np.full((len(names), 1 + len(PEERS)), np.nan)
    for line, name in enumerate(names):
        own = played[name]
        found[line, 0] = 100 * float(str(own["blamed"])) / float(str(own["deliveries"]))
        if name in peers:
            found[line, 1:] = [float(str(peers[name][peer]).split("%")[0]) for peer in PEERS]
    return names, found


def draw(tables: dict[str, list[dict[str, object]]], path: Path) -> None:
    """One panel a rate that was played, one row a condition, one column a rule.

    Raises:
        ValueError: if nothing was played.
    """
    rates = [users for users in RATES if shares(tables, users)[0]]
    if not rates:
        raise ValueError(f"no deliveries at {RATES} requests a second in {OUT}; make simulate plays them")
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = path.name
    figure, panels = plt.subplots(1, len(rates), figsize=(15, 5.2), layout="constrained", sharey=True, squeeze=False)
    columns = [OURS, *PEERS]
    for axes, users in zip(panels[0], rates, strict=True):
        names, found = shares(tables, users)
        shown = axes.imshow(found, cmap="YlOrRd", vmin=0, vmax=100, aspect="auto")
        axes.set_xticks(range(len(columns)), labels=columns, rotation=40, ha="right")
        axes.set_yticks(range(len(names)), labels=names)
        axes.set_title(f"{users:g} users' requests a second")
        for (line, column), share in np.ndenumerate(found):
            if not np.isnan(share):
                colour = "white" if share > 60 else "black"
                axes.text(
                    column,
                    line,
                    f"{share:.0f}" if share in (0, 100) or share >= 10 else f"{share:.1g}",
                    ha="center",
                    va="center",
                    color=colour,
                    fontsize=9,
                )
    figure.colorbar(shown, ax=panels, label="sound releases turned back, %")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(description="Draw what make simulate wrote.")
    parser.add_argument("--out", type=Path, default=Path("docs/images/false-alarms.svg"), help="where the picture goes")
    arguments = parser.parse_args()
    if not OUT.is_file():
        parser.error(f"{OUT} is not there; make simulate writes it")
    draw(json.loads(OUT.read_text()), arguments.out)


if __name__ == "__main__":
    main()
