from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path, PurePosixPath

import pytest

from banana_delivery.errors import ImageError
from banana_delivery.images.assembled.base_python import BasePython
from banana_delivery.images.assembled.entries import Entry, write_entries
from banana_delivery.images.assembled.environment import environment_of
from tests.support.wheels import write_wheel

PYTHON = BasePython(PurePosixPath("/usr/local/bin/python3"), 11, 36, "x86_64")
SITE = "opt/venv/lib/python3.11/site-packages"


def layer_of(folder: Path) -> dict[str, tarfile.TarInfo]:
    return {member.name: member for member in tarfile.open(fileobj=io.BytesIO(tar_of(folder)))}


def tar_of(folder: Path) -> bytes:
    out = io.BytesIO()
    with environment_of(sorted(folder.iterdir()), PYTHON) as entries:
        write_entries(entries, [PurePosixPath("/app")], out)
    return out.getvalue()


def text(folder: Path, name: str) -> str:
    with tarfile.open(fileobj=io.BytesIO(tar_of(folder))) as tar:
        file = tar.extractfile(name)
        assert file
        return file.read().decode()


def test_a_wheel_is_laid_out_as_pip_does_it(tmp_path: Path) -> None:
    write_wheel(
        tmp_path,
        "one",
        "py3-none-any",
        {
            "one/__init__.py": b"",
            "one-1.0.data/purelib/two.py": b"",
            "one-1.0.data/scripts/tool": b"#!python\nprint()\n",
            "one-1.0.data/data/share/one.txt": b"",
            "one-1.0.data/headers/one.h": b"",
            "one/tests/test_one.py": b"",
            "one/include/one.h": b"",
            "one-1.0.dist-info/entry_points.txt": b"[console_scripts]\nrun-one = one.main:App.run [extra]\n[b]\n",
        },
    )
    layer = layer_of(tmp_path)

    assert {name for name in layer if layer[name].isfile() and ".dist-info" not in name} == {
        "opt/venv/pyvenv.cfg",
        "opt/venv/bin/tool",
        "opt/venv/bin/run-one",
        "opt/venv/share/one.txt",
        f"{SITE}/one/__init__.py",
        f"{SITE}/two.py",
    }
    assert text(tmp_path, "opt/venv/bin/tool") == "#!/opt/venv/bin/python\nprint()\n"
    assert "from one.main import App\n" in text(tmp_path, "opt/venv/bin/run-one")
    assert "sys.exit(App.run())" in text(tmp_path, "opt/venv/bin/run-one")
    assert "home = /usr/local/bin\n" in text(tmp_path, "opt/venv/pyvenv.cfg")
    assert layer["opt/venv/bin/python3"].linkname == "/usr/local/bin/python3"
    assert layer["opt/venv/lib64"].linkname == "lib"


def test_everything_is_roots_has_one_date_and_no_more_rights_than_it_needs(tmp_path: Path) -> None:
    write_wheel(tmp_path, "one", "py3-none-any", {"one.py": b"", "one-1.0.data/scripts/tool": b"#!python\n"})
    layer = layer_of(tmp_path)

    assert {(member.uid, member.gid, member.mtime) for member in layer.values()} == {(0, 0, 315_532_800)}
    assert layer["opt/venv/bin/tool"].mode == 0o755
    assert layer[f"{SITE}/one.py"].mode == 0o644
    assert layer["app"].isdir() and layer["app"].mode == 0o755


def test_equal_wheels_give_equal_bytes_whatever_the_clock_and_the_umask_say(tmp_path: Path) -> None:
    write_wheel(tmp_path, "one", "py3-none-any", {f"{'long/' * 30}one.py": b"1", "b.py": b"", "a.py": b""})
    first = tar_of(tmp_path)
    os.utime(next(tmp_path.iterdir()), (0, 0))
    before = os.umask(0o077)
    try:
        assert tar_of(tmp_path) == first
    finally:
        os.umask(before)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "one-1.0.data/scripts/../../../../etc/passwd"])
def test_a_wheel_that_leads_out_of_the_environment_is_refused(tmp_path: Path, name: str) -> None:
    write_wheel(tmp_path, "one", "py3-none-any", {name: b""})

    with pytest.raises(ImageError, match="leads out of it"):
        tar_of(tmp_path)


@pytest.mark.parametrize("command", ["one = no reference\n", "../one = one:main\n", "one = one:main;import os\n"])
def test_a_command_that_is_none_is_refused(tmp_path: Path, command: str) -> None:
    points = f"[console_scripts]\n{command}".encode()
    write_wheel(tmp_path, "one", "py3-none-any", {"one-1.0.dist-info/entry_points.txt": points})

    with pytest.raises(ImageError, match="not known how to start"):
        tar_of(tmp_path)


@pytest.mark.parametrize("name", ["one-1.0.data/mystery/one.py", "one-1.0.data/one.py", "one.data", "x.data/purelib"])
def test_what_belongs_nowhere_that_is_known_is_refused_as_pip_does(tmp_path: Path, name: str) -> None:
    write_wheel(tmp_path, "one", "py3-none-any", {name: b""})

    with pytest.raises(ImageError, match="belongs is not known"):
        tar_of(tmp_path)


@pytest.mark.parametrize("name", [".", ".."])
def test_a_command_that_names_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    points = f"[console_scripts]\n{name} = one:main\n".encode()
    write_wheel(tmp_path, "one", "py3-none-any", {"one-1.0.dist-info/entry_points.txt": points})

    with pytest.raises(ImageError, match="not known how to start"):
        tar_of(tmp_path)


def test_commands_with_a_window_are_commands_and_those_of_copied_packages_are_none(tmp_path: Path) -> None:
    files = {
        "one-1.0.dist-info/entry_points.txt": b"[gui_scripts]\nshow = one:main\n",
        "one/_vendor/wheel-0.1.dist-info/entry_points.txt": b"[console_scripts]\nwheel = wheel:main\n",
    }
    write_wheel(tmp_path, "one", "py3-none-any", files)
    layer = layer_of(tmp_path)

    assert "opt/venv/bin/show" in layer
    assert "opt/venv/bin/wheel" not in layer


@pytest.mark.parametrize("below", ["one/two.py", "one-1.0.data/data/lib64/two.py", "one-1.0.data/scripts/python/x"])
def test_what_is_a_file_and_a_folder_is_refused_in_one_wheel_and_across(tmp_path: Path, below: str) -> None:
    write_wheel(tmp_path, "first", "py3-none-any", {"one": b""})
    write_wheel(tmp_path, "one", "py3-none-any", {below: b""})

    with pytest.raises(ImageError, match="a file or link, and a folder"):
        tar_of(tmp_path)


def test_a_pickle_among_the_packages_is_refused(tmp_path: Path) -> None:
    write_wheel(tmp_path, "one", "py3-none-any", {"one/weights.pt": b""})

    with pytest.raises(ImageError, match=r"weights\.pt"):
        tar_of(tmp_path)


def test_what_is_no_wheel_is_named(tmp_path: Path) -> None:
    (tmp_path / "one-1.0-py3-none-any.whl").write_bytes(b"<html>")

    with pytest.raises(ImageError, match=r"none-any\.whl cannot be laid out"):
        tar_of(tmp_path)


def test_a_small_file_can_be_written_twice() -> None:
    entry = Entry.of(b"content")

    assert entry.content().read() == entry.content().read() == b"content"
