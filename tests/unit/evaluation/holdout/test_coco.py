"""What is particular to COCO files; what all forms have in common is in ``test_read``."""

import json
from pathlib import Path
from typing import Any

import pytest

from banana_delivery.evaluation.holdout import coco as reading
from banana_delivery.evaluation.holdout import jsons
from banana_delivery.evaluation.holdout.read import read
from tests.unit.evaluation.holdout.layouts import coco, coco_file, picture, write
from tests.unit.evaluation.holdout.test_read import complaint


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The entries whose line was looked for, which means to read the file once more up to there."""
    looked_for: list[tuple[str, int]] = []
    real = reading.line_of

    def line_of(text: str, key: str, index: int) -> int | None:
        looked_for.append((key, index))
        return real(text, key, index)

    monkeypatch.setattr(reading, "line_of", line_of)
    return looked_for


def many(root: Path, count: int) -> Path:
    """A file with so many images."""
    images = [{"id": 11 + index, "file_name": f"{index}.jpg", "width": 64, "height": 48} for index in range(count)]
    for index in range(count):
        picture(root / f"{index}.jpg", shade=60 + index)
    return write(root / "labels.coco.json", json.dumps(coco(images=images), indent=1))


def test_the_line_of_an_entry_is_looked_for_only_where_something_is_wrong(
    lines: list[tuple[str, int]], tmp_path: Path
) -> None:
    file = many(tmp_path, 5)
    assert len(read(tmp_path).images) == 5
    assert lines == []
    (tmp_path / "3.jpg").write_bytes(b"no picture")
    said = complaint(tmp_path)
    assert lines == [("images", 3)]
    line = 1 + file.read_text().splitlines().index('   "file_name": "3.jpg",')
    assert said.startswith(f"{file}, line {line - 2}: 3.jpg is not a JPEG")


def test_a_file_is_parsed_once_however_large_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    real = json.loads

    def loads(text: str, **how: Any) -> Any:
        parsed.append(text)
        return real(text, **how)

    file = many(tmp_path, 1)
    monkeypatch.setattr(jsons.json, "loads", loads)
    read(tmp_path)
    assert parsed == [file.read_text()]
