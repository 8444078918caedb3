"""Laying layers upon each other as an engine does, and never outside of the folder."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import io
import tarfile
from pathlib import Path

import pytest

from banana_delivery.images.direct import layering
from banana_delivery.images.direct.layering import apply_layer, content_digest

Entry = tuple[str, str]


def layer(*entries: Entry, **files: bytes) -> io.BytesIO:
    """A tar of links (name, target), ``name/`` for folders, ``name=target`` for hard links, and files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, target in entries:
            member = tarfile.TarInfo(name.strip("=") if not name.endswith("/") else name)
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.SYMTYPE
            member.type = tarfile.LNKTYPE if name.startswith("=") else member.type
            member.linkname = target
            tar.addfile(member)
        for name, content in files.items():
            tar.addfile(*file(name, content))
    return io.BytesIO(out.getvalue())


def file(name: str, content: bytes, mode: int = 0o644) -> tuple[tarfile.TarInfo, io.BytesIO]:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    return member, io.BytesIO(content)


def one_file(name: str, content: bytes = b"new", mode: int = 0o644) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.addfile(*file(name, content, mode))
    return io.BytesIO(out.getvalue())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


def test_what_a_layer_replaces_removes_and_empties_is_so(root: Path) -> None:
    for name in ("keep", "replace", "remove", "folder/old", "tree/deep/leaf"):
        apply_layer(one_file(name, b"old"), root)

    apply_layer(one_file("replace"), root)
    apply_layer(one_file(".wh.remove", b""), root)
    apply_layer(one_file("./folder/.wh..wh..opq", b""), root)
    apply_layer(one_file("/folder/new"), root)
    apply_layer(one_file(".wh.tree", b""), root)

    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert found == {"keep": b"old", "replace": b"new", "folder/new": b"new"}


def test_an_absolute_link_leads_within_the_folder_where_it_leads_within_the_image(root: Path) -> None:
    apply_layer(one_file("usr/bin/python3.11", b"python", 0o755), root)
    apply_layer(layer(("opt/venv/bin/python", "/usr/bin/python3"), ("usr/bin/python3", "python3.11")), root)
    apply_layer(layer(("etc/up", "/../../../usr/bin/python3")), root)

    for name in ("opt/venv/bin/python", "etc/up"):
        assert (root / name).resolve() == root / "usr/bin/python3.11"
    assert (root / "usr/bin/python3.11").stat().st_mode & 0o777 == 0o755


def test_a_hard_link_is_the_same_file_and_a_folder_that_is_a_link_stays_one(root: Path) -> None:
    apply_layer(one_file("usr/lib/a", b"a"), root)
    apply_layer(layer(("lib", "usr/lib"), ("=lib/b", "usr/lib/a")), root)
    apply_layer(one_file("lib/c", b"c"), root)

    assert (root / "usr/lib/b").read_bytes() == b"a"
    assert (root / "usr/lib/c").read_bytes() == b"c"
    assert (root / "lib").is_symlink()


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "out/evil", "out/deep/evil"])
def test_nothing_is_written_outside_of_the_folder(name: str, root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    apply_layer(layer(("out", "../outside")), root)

    with pytest.raises(ValueError, match="points outside"):
        apply_layer(one_file(name), root)

    assert list((tmp_path / "outside").iterdir()) == []
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("target", ["../outside/secret", "out/secret"])
def test_a_hard_link_takes_nothing_from_outside(target: str, root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    apply_layer(layer(("out", "../outside")), root)

    with pytest.raises(ValueError, match="points outside"):
        apply_layer(layer(("=mine", target)), root)


def test_a_file_is_written_in_the_place_of_a_link_and_not_through_it(root: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("untouched")
    apply_layer(layer(("file", "../victim")), root)

    apply_layer(one_file("file"), root)

    assert (root / "file").read_bytes() == b"new"
    assert (tmp_path / "victim").read_text() == "untouched"


def test_rights_that_a_file_would_give_away_are_left_out(root: Path) -> None:
    apply_layer(one_file("sudo", mode=0o4755), root)

    assert (root / "sudo").stat().st_mode & 0o7777 == 0o755


def test_layers_packed_with_gzip_and_zstd_are_read_and_rubbish_is_refused(root: Path) -> None:
    plain = one_file("file").getvalue()
    apply_layer(io.BytesIO(gzip.compress(plain)), root)
    (root / "file").unlink()
    packed = importlib.import_module("pyarrow").compress(plain, "zstd", asbytes=True)
    apply_layer(io.BytesIO(packed), root)
    assert (root / "file").read_bytes() == b"new"

    with pytest.raises(tarfile.TarError):
        apply_layer(io.BytesIO(b"rubbish" * 100), root)


@pytest.mark.parametrize("name", [".wh...", "usr/.wh...", ".wh..", ".wh."])
def test_a_mark_of_a_removal_removes_nothing_outside_of_the_folder(name: str, root: Path, tmp_path: Path) -> None:
    (tmp_path / "neighbour").write_text("untouched")
    apply_layer(one_file("usr/file"), root)

    with pytest.raises(ValueError, match="points outside"):
        apply_layer(one_file(name, b""), root)

    assert (tmp_path / "neighbour").read_text() == "untouched"
    assert (root / "usr/file").read_bytes() == b"new"


def packings(content: bytes) -> list[bytes]:
    zstd = importlib.import_module("pyarrow").compress(content, "zstd", asbytes=True)
    return [content, gzip.compress(content), zstd]


@pytest.mark.parametrize("packing", range(3))
def test_a_layer_is_what_the_config_calls_it_by_all_of_its_content_however_it_is_packed(
    packing: int, root: Path
) -> None:
    plain = one_file("file").getvalue()
    named = f"sha256:{hashlib.sha256(plain).hexdigest()}"
    longer = packings(plain + b"hidden behind the end of the archive")[packing]

    apply_layer(io.BytesIO(packings(plain)[packing]), root, named)
    assert content_digest(io.BytesIO(packings(plain)[packing])) == named
    assert content_digest(io.BytesIO(longer)) != named
    with pytest.raises(ValueError, match="something else than the image's config says"):
        apply_layer(io.BytesIO(longer), root, named)


def test_links_that_lead_round_in_circles_and_damaged_layers_are_one_kind_of_error(root: Path) -> None:
    apply_layer(layer(("a", "b"), ("b", "a")), root)
    damaged = bytearray(gzip.compress(one_file("file", bytes(range(256)) * 99).getvalue()))
    damaged[40:60] = bytes(20)

    apply_layer(one_file("c"), root)
    for below in ("a/file", "a/b/file", "c/file", "c/d/file"):
        with pytest.raises(ValueError, match="cannot be unpacked"):
            apply_layer(one_file(below), root)
    with pytest.raises((ValueError, tarfile.TarError)):
        apply_layer(io.BytesIO(damaged), root)


def test_a_layer_that_grows_without_an_end_is_broken_off(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layering, "MOST_BYTES", 2**20)
    bomb = gzip.compress(one_file("file").getvalue() + bytes(2**21))

    with pytest.raises(ValueError, match="holds more than"):
        content_digest(io.BytesIO(bomb))
