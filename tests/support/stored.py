"""State that version 0.1.0 wrote, unpacked so that another version can go on with it.

What is in it and how it was made: tests/fixtures/stored_0_1_0/README.md. Nothing here imports the product, so that it
stays as it is whatever becomes of the product's modules.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tarfile
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIXTURE = Path(__file__).parents[1] / "fixtures" / "stored_0_1_0"
STORED_HOME = "/var/lib/banana"
"""The home as everything in the archive names it; nothing needs to exist there."""
AT_REST, MID_SHIFT, HELD = VARIANTS = ("at_rest", "mid_shift", "held")
ROUTINGS = ("gateway", "endpoints")

Json = dict[str, Any]


@dataclass(frozen=True)
class Stored:
    """What one variant left behind.

    Attributes:
        home: BANANA_HOME.
        dagster_home: DAGSTER_HOME, inside the home.
        clusters: what a cluster held, by routing: each object by its API path.
        predictions: the replicas' prediction log, an SQLite file.
        registry: what the model registry said, by ``aliases`` and ``versions``.
        cursors: of the sensors, by name; ``looked_at`` is when they were stored, seconds since the epoch.
        expected: what version 0.1.0 read out of all this.
    """

    home: Path
    dagster_home: Path
    clusters: dict[str, dict[str, Json]]
    predictions: Path
    registry: Json
    cursors: Json
    expected: Json


def unpack(to: Path, variant: str = AT_REST) -> Stored:
    """Unpack a variant.

    Args:
        to: the home to be, which does not exist yet; every path in the records is made to lead there.
        variant: one of ``VARIANTS``.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with tarfile.open(FIXTURE / "stored.tar.gz") as archive:
            archive.extractall(folder, filter="data")
        shutil.copytree(folder / AT_REST / "home", to)
        if variant != AT_REST:
            # The others only hold what differs from the first.
            shutil.copytree(folder / variant / "home", to, dirs_exist_ok=True)
        _move_in(to)
        shutil.copy(folder / "predictions.sqlite", to / "predictions.sqlite")
        return Stored(
            home=to,
            dagster_home=to / "dagster",
            clusters={name: _json(folder / variant / f"cluster-{name}.json") for name in ROUTINGS},
            predictions=to / "predictions.sqlite",
            registry=_json(folder / "registry.json"),
            cursors=_json(folder / "cursors.json"),
            expected=_json(FIXTURE / "expected.json")[variant],
        )


def _move_in(home: Path) -> None:
    """Make every path that leads into the stored home lead into this one."""
    for file in home.rglob("*"):
        if file.suffix == ".db" or file.name == ".db":
            _replace_in_database(file, STORED_HOME, str(home))
        elif file.suffix in {".json", ".jsonl", ".yml", ".yaml", ".html"}:
            file.write_text(file.read_text().replace(STORED_HOME, str(home)))


def _replace_in_database(file: Path, old: str, new: str) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for column in [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')]:
                database.execute(
                    f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) '
                    f'WHERE typeof("{column}") = \'text\' AND instr("{column}", ?)',
                    (old, new, old),
                )


def _json(file: Path) -> Json:
    found: Json = json.loads(file.read_text())
    return found
