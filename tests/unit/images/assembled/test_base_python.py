from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from banana_delivery.errors import ImageError
from banana_delivery.images.assembled.base_python import BasePython
from tests.support.wheels import LIBRARY


def base(root: Path, program: str = "usr/local/bin/python3.12", library: bytes = LIBRARY) -> Path:
    (root / program).parent.mkdir(parents=True)
    (root / program).write_bytes(b"")
    (root / program).with_name("python3").symlink_to(Path(program).name)
    (root / "lib/x86_64-linux-gnu").mkdir(parents=True)
    (root / "lib/x86_64-linux-gnu/libc.so.6").write_bytes(library)
    return root


def of(root: Path, path: str = "/usr/local/bin:/usr/bin", architecture: str = "amd64") -> BasePython:
    return BasePython.of(root, {"Env": [f"PATH={path}"]}, architecture, "the base")


def test_a_python_is_known_by_what_its_name_leads_to(tmp_path: Path) -> None:
    python = of(base(tmp_path))

    assert python == BasePython(PurePosixPath("/usr/local/bin/python3"), 12, 36, "x86_64")
    assert python.wheel_platforms[0] == "manylinux_2_36_x86_64"
    assert python.wheel_platforms[-2:] == ["manylinux_2_17_x86_64", "manylinux2014_x86_64"]


def test_a_base_without_variables_has_the_usual_path(tmp_path: Path) -> None:
    assert BasePython.of(base(tmp_path), {}, "amd64", "the base").minor == 12


def test_a_base_without_python_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no python3 on its PATH"):
        of(base(tmp_path), "/opt/bin")


def test_a_python_of_unknown_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="of which version"):
        of(base(tmp_path, "usr/local/bin/pypy"))


def test_a_link_out_of_the_image_is_no_python(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "python3.11").touch()
    root = base(tmp_path / "root")
    (root / "usr/local/bin/python3").unlink()
    (root / "usr/local/bin/python3").symlink_to(tmp_path / "outside" / "python3.11")

    with pytest.raises(ImageError, match="no python3"):
        of(root)


def test_a_base_with_musl_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="GNU C library"):
        of(base(tmp_path, library=b"musl libc"))


def test_an_architecture_that_nobody_builds_wheels_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="s390x"):
        of(base(tmp_path), architecture="s390x")
