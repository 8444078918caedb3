from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from banana_delivery.sample_data import leaves
from banana_delivery.sample_data.leaves import CLASSES, HOLDOUT_SEED, LabelledImage, make, write_dataset
from examples.train import RECIPES, swap_classes


def _state(directory: Path) -> dict[str, tuple[int, bytes]]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_the_index_says_what_is_in_the_pictures(tmp_path: Path) -> None:
    index = json.loads(write_dataset(tmp_path, 12, seed=3, progress=False).read_text())
    assert index["classes"] == list(CLASSES)
    assert len(index["images"]) == 12
    for number, entry in enumerate(index["images"]):
        truth = make(3, number)
        stored = cv2.imread(str(tmp_path / entry["file"]))
        assert stored is not None
        assert stored.shape == (entry["height"], entry["width"], 3)
        assert np.abs(stored.astype(int) - truth.image.astype(int)).mean() < 12
        assert entry["classes"] == truth.classes.tolist()
        np.testing.assert_allclose(np.reshape(entry["boxes"], (-1, 4)), truth.boxes, atol=0.01)


def test_yolo_labels_are_the_same_boxes_as_the_index(tmp_path: Path) -> None:
    index = json.loads(write_dataset(tmp_path, 12, seed=3, progress=False).read_text())
    for entry in index["images"]:
        label = tmp_path / "labels" / Path(entry["file"]).with_suffix(".txt").name
        rows = [line.split() for line in label.read_text().splitlines()]
        assert [int(row[0]) for row in rows] == entry["classes"]
        shares = np.array([row[1:] for row in rows], float).reshape(-1, 4)
        scale = np.array([entry["width"], entry["height"]])
        corners = np.hstack([shares[:, :2] - shares[:, 2:] / 2, shares[:, :2] + shares[:, 2:] / 2]) * np.tile(scale, 2)
        np.testing.assert_allclose(corners, np.reshape(entry["boxes"], (-1, 4)), atol=0.02)


def test_writing_the_same_data_set_again_touches_nothing(tmp_path: Path) -> None:
    write_dataset(tmp_path, 8, seed=3, progress=False)
    before = _state(tmp_path)
    write_dataset(tmp_path, 8, seed=3, progress=False)
    assert _state(tmp_path) == before


def test_a_lost_picture_is_painted_again(tmp_path: Path) -> None:
    write_dataset(tmp_path, 4, seed=3, progress=False)
    lost = tmp_path / "images" / "leaf-3-00002.jpg"
    content = lost.read_bytes()
    lost.unlink()
    write_dataset(tmp_path, 4, seed=3, progress=False)
    assert lost.read_bytes() == content


@pytest.mark.parametrize("damage", ["", "[1, 2", '{"fingerprint": "other", "images": []}'])
def test_a_damaged_index_is_written_again(tmp_path: Path, damage: str) -> None:
    index = write_dataset(tmp_path, 2, seed=3, progress=False)
    content = index.read_text()
    index.write_text(damage)
    write_dataset(tmp_path, 2, seed=3, progress=False)
    assert index.read_text() == content


@pytest.mark.parametrize("lost", [None, "images/leaf-3-00002.jpg", "labels/leaf-3-00000.txt"])
def test_whoever_reads_finds_all_while_another_version_paints_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str | None
) -> None:
    """Two versions of the code take turns with a home, and a delivery of the one goes on while the other begins."""
    index = write_dataset(tmp_path, 4, seed=3, progress=False)
    before = _state(tmp_path)
    index.write_text(index.read_text().replace('"fingerprint": "', '"fingerprint": "of another version'))
    if lost:
        (tmp_path / lost).unlink()
    found, paint = [], leaves.make

    def looks(seed: int, number: int, size: tuple[int, int]) -> LabelledImage:
        found.append({path for path in before if (tmp_path / path).is_file()})
        return paint(seed, number, size)

    monkeypatch.setattr(leaves, "make", looks)
    write_dataset(tmp_path, 4, seed=3, progress=False)
    assert len(found) == 4
    assert lost or all(each == set(before) for each in found)
    after = _state(tmp_path)
    assert {path: content for path, (_, content) in after.items()} == {path: c for path, (_, c) in before.items()}
    assert all(after[path] == before[path] for path in before if path not in {"labels.json", lost})


def test_another_data_set_replaces_the_pictures_and_nothing_else(tmp_path: Path) -> None:
    write_dataset(tmp_path, 6, seed=3, progress=False)
    (tmp_path / "images" / "mine.jpg").write_bytes(b"mine")
    write_dataset(tmp_path, 2, seed=4, progress=False)
    names = {path.name for path in (tmp_path / "images").iterdir()}
    assert names == {"leaf-4-00000.jpg", "leaf-4-00001.jpg", "mine.jpg"}
    assert {path.name for path in (tmp_path / "labels").iterdir()} == {"leaf-4-00000.txt", "leaf-4-00001.txt"}


def test_the_command_writes_what_it_is_asked_for(tmp_path: Path) -> None:
    arguments = ["--out", str(tmp_path), "--count", "2", "--seed", "9"]
    result = CliRunner().invoke(leaves.app, arguments)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["leaf-9-00000.jpg", "leaf-9-00001.jpg"]


def test_no_sample_has_seen_the_hold_out() -> None:
    seeds = [recipe.seed for recipe in RECIPES.values()]
    assert HOLDOUT_SEED not in seeds
    assert len(set(seeds)) == len(seeds)


def test_swapping_classes_moves_no_box(tmp_path: Path) -> None:
    write_dataset(tmp_path, 20, seed=3, progress=False)
    before = _rows(tmp_path / "labels")
    swap_classes(tmp_path / "labels", share=0.5, seed=1)
    after = _rows(tmp_path / "labels")
    swapped = [old[0] != new[0] for old, new in zip(before, after, strict=True)]
    assert [old[1:] for old in before] == [new[1:] for new in after]
    assert 0.25 < np.mean(swapped) < 0.75


def _rows(labels: Path) -> list[list[str]]:
    return [line.split() for file in sorted(labels.glob("*.txt")) for line in file.read_text().splitlines()]
