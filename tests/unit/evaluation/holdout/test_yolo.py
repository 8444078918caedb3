"""What is particular to YOLO datasets; what all forms have in common is in ``test_read``."""

from pathlib import Path

import pytest

from banana_delivery.evaluation.holdout.read import read
from tests.unit.evaluation.holdout import layouts
from tests.unit.evaluation.holdout.layouts import BOX, write
from tests.unit.evaluation.holdout.test_read import complaint

NAMES = "names: [streak, spot]\n"


@pytest.mark.parametrize(
    "description",
    [
        "val: images\\val\n",
        "val: ..\\images\\val\n",
        "path: C:\\data\nval: .\\images\\val\n",
        "path: .\\images\nval: val\n",
    ],
)
def test_a_description_that_windows_wrote_is_read(description: str, tmp_path: Path) -> None:
    first = read(layouts.coco128(tmp_path, description + NAMES)).images[0]
    assert (first.name, first.boxes.tolist()) == ("images/val/a.jpg", [BOX])


@pytest.mark.parametrize("line", ["images\\val\\a.jpg", ".\\images\\val\\a.jpg", "data\\images\\val\\a.jpg"])
def test_a_list_that_windows_wrote_is_read(line: str, tmp_path: Path) -> None:
    write(layouts.cvat_yolo(tmp_path) / "val.txt", f"{line}\n")
    first = read(tmp_path).images[0]
    assert (first.name, first.boxes.tolist()) == ("images/val/a.jpg", [BOX])


def test_a_path_of_windows_leads_nowhere_out_of_the_folder(tmp_path: Path) -> None:
    root = layouts.coco128(tmp_path / "deep" / "data", f"val: ..\\..\\secret\n{NAMES}")
    layouts.picture(tmp_path / "secret" / "a.jpg")
    assert "leads out of" in complaint(root)


@pytest.mark.parametrize("leads_to", ["more", "../val", "gone", "../../../elsewhere"])
def test_a_link_to_a_folder_is_told_rather_than_left_out(leads_to: str, tmp_path: Path) -> None:
    root = layouts.coco128(tmp_path / "data")
    layouts.picture(root / "images" / "val" / "more" / "c.jpg")
    layouts.picture(tmp_path / "elsewhere" / "d.jpg")
    assert len(read(root).images) == 4
    link = root / "images" / "val" / "link"
    link.symlink_to(leads_to)
    said = complaint(root)
    assert said.startswith(f"{root / 'data.yaml'}: {link} is a link to a folder or to nothing")
