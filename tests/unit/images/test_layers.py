from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from banana_delivery.images.layers import Member, tar_members, write_tar


def tar_of(members: list[Member]) -> bytes:
    out = io.BytesIO()
    write_tar(members, out)
    return out.getvalue()


def test_dates_modes_and_order_of_the_sources_leave_no_trace(tmp_path: Path) -> None:
    for directory in ("a", "b"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "x.py").write_text("x = 1\n")
        (tmp_path / directory / "y.py").write_text("y = 1\n")
    os.utime(tmp_path / "b" / "x.py", (1, 1))
    (tmp_path / "b" / "y.py").chmod(0o600)

    first = tar_of([Member("app/x.py", tmp_path / "a" / "x.py"), Member("app/y.py", tmp_path / "a" / "y.py")])
    second = tar_of([Member("app/y.py", tmp_path / "b" / "y.py"), Member("app/x.py", tmp_path / "b" / "x.py")])

    assert first == second


def test_every_directory_comes_before_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "x.py").touch()

    with tarfile.open(fileobj=io.BytesIO(tar_of([Member("app/deep/x.py", tmp_path / "x.py")]))) as tar:
        assert [(entry.name, entry.isdir(), entry.uid) for entry in tar] == [
            ("app", True, 0),
            ("app/deep", True, 0),
            ("app/deep/x.py", False, 0),
        ]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("/etc/passwd", tarfile.REGTYPE),
        ("app/../../x", tarfile.REGTYPE),
        ("link", tarfile.SYMTYPE),
        ("dev", tarfile.CHRTYPE),
    ],
)
def test_an_entry_that_could_escape_is_refused(name: str, kind: bytes) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.type = kind
        tar.addfile(entry)
    out.seek(0)

    with tarfile.open(fileobj=out) as tar, pytest.raises(ValueError, match="entry"):
        list(tar_members(tar))
