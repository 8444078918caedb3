"""The picture of the false alarms shows what was played, and leaves empty what was not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.decisions_figure import draw, shares
from benchmarks.decisions_peers import PEERS

SOUND, FAULTY = "independent, 0.1 % fail", "the candidate fails 10%"
TABLES: dict[str, list[dict[str, object]]] = {
    "dependence": [
        {"condition": SOUND, "users/s": 5.0, "deliveries": 400, "blamed": 1},
        {"condition": SOUND, "users/s": 50.0, "deliveries": 300, "blamed": 0},
        {"condition": SOUND, "users/s": 500.0, "deliveries": 0, "blamed": 0},
    ],
    "peers": [
        {"condition": name, "users/s": 5.0, **{peer: f"{10 + number}%, 31 s" for number, peer in enumerate(PEERS)}}
        for name in (SOUND, FAULTY)
    ],
}


def test_a_row_says_how_often_we_and_each_peer_turn_a_sound_release_back() -> None:
    names, found = shares(TABLES, 5.0)
    assert names == [SOUND]
    assert found.tolist() == [[0.25, *range(10, 10 + len(PEERS))]]


def test_what_no_peer_was_asked_is_empty() -> None:
    names, found = shares(TABLES, 50.0)
    assert names == [SOUND]
    assert found[0, 0] == 0
    assert np.isnan(found[0, 1:]).all()


def test_a_cell_without_deliveries_has_no_row() -> None:
    assert shares(TABLES, 500.0)[0] == []


def test_the_picture_names_each_rule_and_each_rate_that_was_played(tmp_path: Path) -> None:
    draw(TABLES, tmp_path / "false-alarms.svg")
    drawn = (tmp_path / "false-alarms.svg").read_text()
    for text in ("5 users' requests a second", "50 users' requests a second", *PEERS):
        assert text.replace(">", "&gt;") in drawn
    assert "500 users" not in drawn


def test_nothing_played_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="make simulate plays them"):
        draw({"dependence": [], "peers": []}, tmp_path / "false-alarms.svg")
