from __future__ import annotations

import io
import pickle
import zipfile

import pytest

from banana_delivery.images.scanning import is_pickle


def archive_with(name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, b"content")
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("best.pt", b"whatever it holds"),
        ("model/weights.bin", pickle.dumps({"a": 1})),
        ("model/weights", archive_with("archive/data.pkl")),
    ],
)
def test_a_pickle_is_known_by_its_name_its_bytes_or_what_its_archive_holds(name: str, content: bytes) -> None:
    assert is_pickle(name, io.BytesIO(content))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.onnx", b"\x08\x08\x12\x07pytorch"),
        ("empty.py", b""),
        ("data.bin", b"\x80\x04 but it does not end as one"),
        ("images.zip", archive_with("leaf.png")),
    ],
)
def test_other_files_are_no_pickles(name: str, content: bytes) -> None:
    assert not is_pickle(name, io.BytesIO(content))
