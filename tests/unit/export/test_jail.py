"""What a process that was taken over can do: each of these it once could."""

from __future__ import annotations

import logging
import os
import socket
import time
from pathlib import Path

import pytest

import serving
from banana_delivery.errors import ExportError
from banana_delivery.export import sandbox
from banana_delivery.export.jail import confine, landlock, namespaces, seccomp
from tests import ROOT
from tests.unit.export.prisoner import Attempt, Loot


def can(means: object) -> bool:
    """Whether this machine has a means, tried in a process of its own."""
    child = os.fork()
    if not child:
        try:
            means()  # type: ignore[operator]
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


HAS_NAMESPACES, HAS_LANDLOCK, HAS_SECCOMP = can(namespaces.enter), can(landlock.version), can(seccomp.restrict)
needs_a_network_fence = pytest.mark.skipif(not (HAS_NAMESPACES or HAS_SECCOMP), reason="no namespaces, no seccomp")
needs_a_disk_fence = pytest.mark.skipif(not HAS_LANDLOCK, reason="no Landlock")


@pytest.fixture(autouse=True)
def _worker_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def tries(deed: str, scratch: Path, where: object = "") -> str:
    order = Attempt(deed=deed, where=str(where))
    return sandbox.run("tests.unit.export.prisoner", order, Loot, scratch, 60.0).got


@needs_a_disk_fence
@pytest.mark.parametrize("file", ["environ", "cmdline", "maps", "root/etc/hostname", "cwd/pyproject.toml"])
def test_nothing_of_its_parent_can_be_read(scratch: Path, file: str) -> None:
    assert tries("read", scratch, f"/proc/{os.getpid()}/{file}").startswith("refused")


@needs_a_disk_fence
def test_no_file_but_its_own_can_be_read_written_or_listed(scratch: Path) -> None:
    secret = scratch.parent / "secret"
    secret.write_text("a secret")
    assert tries("read", scratch, secret).startswith("refused")
    assert tries("write", scratch, scratch.parent / "new").startswith("refused")
    assert tries("write", scratch, secret).startswith("refused")
    assert tries("list", scratch, scratch.parent).startswith("refused")
    assert secret.read_text() == "a secret"
    assert tries("write", scratch, scratch / "new") == "written"


@needs_a_disk_fence
@pytest.mark.parametrize("name", ["/etc/shadow", "/root", "/home", "/var", "/run", "/tmp", str(ROOT / "README.md")])
def test_what_the_machine_keeps_elsewhere_cannot_be_read(scratch: Path, name: str) -> None:
    deed = "list" if Path(name).is_dir() else "read"
    assert tries(deed, scratch, name).startswith("refused")


@needs_a_network_fence
def test_nobody_can_be_reached(scratch: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert tries("connect", scratch, f"tcp {server.getsockname()[1]}").startswith("refused")
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(scratch.parent / "engine.sock"))
        engine.listen()
        assert tries("connect", scratch, f"unix {scratch.parent / 'engine.sock'}").startswith("refused")


@pytest.mark.skipif(not HAS_SECCOMP, reason="no seccomp")
def test_no_other_program_can_be_run(scratch: Path) -> None:
    assert tries("run", scratch).startswith("refused")


@pytest.mark.skipif(not HAS_NAMESPACES, reason="no namespaces")
def test_its_parent_cannot_be_signalled(scratch: Path) -> None:
    assert tries("signal", scratch, os.getpid()).startswith("refused")


@pytest.mark.parametrize("deed", ["leave", "leave in another session"])
def test_nothing_that_it_started_survives_it(scratch: Path, deed: str) -> None:
    sign = scratch / "alive"
    assert tries(deed, scratch, sign) == "left"
    last = sign.read_text()
    time.sleep(0.2)
    assert sign.read_text() == last


def test_files_and_open_files_are_bounded(scratch: Path) -> None:
    with pytest.raises(ExportError, match="Too many open files"):
        tries("many files", scratch)
    assert tries("large file", scratch).startswith("refused")
    assert (scratch / "large").stat().st_size == 0


@pytest.mark.parametrize("deed", ["link", "flood"])
def test_an_answer_that_is_a_link_or_a_flood_is_not_read(scratch: Path, deed: str) -> None:
    secret = scratch.parent / "secret.json"
    secret.write_text('{"got": "a secret"}')
    with pytest.raises(ExportError, match="answered what it should not"):
        tries(deed, scratch, secret)


@pytest.mark.skipif(not HAS_SECCOMP, reason="no seccomp")
def test_what_a_machine_does_not_let_us_is_said_in_one_sentence_and_the_rest_is_held(
    scratch: Path,
) -> None:
    """In a container without namespaces the call fails; here a filter makes it fail in the same way."""
    child = os.fork()
    if not child:
        try:
            seccomp.restrict({"unshare": seccomp.OTHERS["unshare"]})
            logging.getLogger("banana_delivery").addHandler(logging.FileHandler(scratch.parent / "log"))
            got = tries("connect", scratch, "tcp 1"), tries("leave in another session", scratch, scratch / "alive")
            (scratch.parent / "got").write_text(repr(got))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    last = (scratch / "alive").read_text()
    said = (scratch.parent / "log").read_text()
    assert said.count("runs here without namespaces of its own, since this machine does not let it") == 2
    assert (scratch.parent / "got").read_text() == repr(("refused: OSError", "left"))
    time.sleep(0.2)
    assert (scratch / "alive").read_text() == last


def test_the_products_own_modules_can_be_read_though_no_folder_of_the_path_holds_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.path", [])
    readable = {folder for folder, right in confine.rules(tmp_path, []) if right == landlock.READ}
    assert {Path(sandbox.__file__).parents[1], Path(serving.__file__).parent} <= readable


def test_of_a_worktree_it_reads_where_its_files_lie_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """ultralytics asks for it when it is imported."""
    behind = tmp_path / "main" / ".git" / "worktrees" / "other"
    behind.mkdir(parents=True)
    for name in ("commondir", "HEAD"):
        (behind / name).write_text("../..")
    (installed := tmp_path / "other" / ".venv").mkdir(parents=True)
    monkeypatch.setattr("sys.prefix", str(installed))

    def readable() -> set[Path]:
        return {file.resolve() for file, _ in confine.rules(tmp_path / "scratch", []) if file.is_relative_to(tmp_path)}

    before = readable()
    for link in ("../main/.git/worktrees/other", str(behind)):
        (mark := tmp_path / "other" / ".git").write_text(f"gitdir: {link}\n")
        assert readable() - before == {mark, behind / "commondir"}
    mark.write_text("rubbish")
    assert readable() - before == {mark}
    (shared := tmp_path / "third" / ".venv").parent.mkdir()
    shared.symlink_to(installed)
    monkeypatch.setattr("sys.prefix", str(shared))
    assert readable() - before == {mark}, "ultralytics looks where it lies, whatever link led there"


def test_what_a_stranger_puts_in_place_of_a_worktrees_files_opens_nothing_and_ends_nothing(tmp_path: Path) -> None:
    (secret := tmp_path / "secret").write_text("a secret")
    (installed := tmp_path / "other" / ".venv").mkdir(parents=True)
    (behind := tmp_path / "behind").mkdir()
    (behind / "commondir").symlink_to(secret)
    mark = installed.parent / ".git"

    def opened() -> list[Path]:
        return list(confine._links_of_a_worktree(installed))

    mark.symlink_to(secret)
    assert opened() == []
    mark.unlink()
    mark.write_text(f"gitdir: {behind}")
    assert opened() == [mark]
    for odd in ("gitdir: " + "x" * 300, "gitdir: " + "x/" * 3000, "x" * 100_000):
        mark.write_text(odd)
        assert opened() == []
    mark.write_text("gitdir: a\0b")
    assert opened() == [mark]
