"""Layers as Docker's classic builder writes them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from banana_delivery.files import bytes_digest
from banana_delivery.images.direct.tars import write_layer
from banana_delivery.images.layers import Member
from banana_delivery.images.scanning import pickles_in

VERSION = (
    b'{"model_name": "banana_sigatoka_detector", "version": "2", "mlflow_run_id": "run-7", '
    b'"source": "models:/banana_sigatoka_detector/7", "classes": ["red", "blue"], "input_size": 64, '
    b'"checkpoint_sha256": "0000000000000000000000000000000000000000000000000000000000000000", '
    b'"onnx_sha256": "e167be8824f66d0217879a0c8c525fa55bc59fa778dabe56c2c7d6e555b2403d", "exported_with": "tests"}'
)
"""What a release held that Docker 20.10 built, and the diff id that it gave to the layer."""
DIFF_ID = "sha256:7ff152733500dbe161625d63895600e3cb01af46fd33f232caefa18d32d1593d"


def layer(tmp_path: Path, files: dict[str, bytes]) -> bytes:
    members = []
    for number, (name, content) in enumerate(files.items()):
        (tmp_path / str(number)).write_bytes(content)
        members.append(Member(name, tmp_path / str(number)))
    out = io.BytesIO()
    write_layer(members, out)
    return out.getvalue()


def test_a_layer_has_the_digest_that_an_engine_gave_it(tmp_path: Path) -> None:
    assert bytes_digest(layer(tmp_path, {"model/version.json": VERSION})) == DIFF_ID


def test_entries_come_in_the_order_of_a_walk_and_read_back_as_they_were(tmp_path: Path) -> None:
    files = {"app/b.py": b"b", "app/b/c.py": b"c" * 513, "app/a/d.py": b"", "app/b-c.py": b"x" * 512, "z": b"z"}

    with tarfile.open(fileobj=io.BytesIO(layer(tmp_path, files))) as tar:
        members = tar.getmembers()
        read = {one.name: tar.extractfile(one).read() for one in members if one.isfile()}  # type: ignore[union-attr]

    names = [one.name for one in members]
    assert names == ["app", "app/a", "app/a/d.py", "app/b", "app/b/c.py", "app/b-c.py", "app/b.py", "z"]
    assert read == files
    assert {(one.uname, one.gname, one.uid, one.gid, one.mtime) for one in members} == {
        ("root", "root", 0, 0, 315_532_800)
    }


def test_a_name_that_is_too_long_for_the_old_form_is_kept_whole(tmp_path: Path) -> None:
    name = "/".join(["a" * 60] * 6) + "/größe.py"

    with tarfile.open(fileobj=io.BytesIO(layer(tmp_path, {name: b"1"}))) as tar:
        assert name in tar.getnames()
        assert pickles_in(tar) == []
