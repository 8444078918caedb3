"""Python's reader of archives and torch's, over archives that were altered: what we let through, both read alike."""

from __future__ import annotations

import importlib
import io
import random
import zipfile
from pathlib import Path

import pytest
import torch

from banana_delivery.errors import RejectedModelError
from banana_delivery.export.archive.form import Archive
from banana_delivery.export.archive.known_names import ALLOWED
from banana_delivery.export.export_worker import require_restricted_loading

ROUNDS = 1500
"""Altered archives; about one in six is let through, since padding and what describes nothing may be anything."""
NUMBERS = (b"\0\0", b"\1\0", b"\x08\0", b"\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\xff")


def saved() -> bytes:
    buffer = io.BytesIO()
    torch.save({"weights": torch.arange(6.0), "bias": torch.ones(2), "epoch": 3}, buffer)
    return buffer.getvalue()


def altered(content: bytes, chance: random.Random) -> bytes:
    """One to three changes: a byte, a number, a part cut out, doubled or put elsewhere, two headers exchanged."""
    data = bytearray(content)
    marks = [at for at in range(len(data) - 1) if data[at : at + 2] == b"PK"]
    for _ in range(chance.randint(1, 3)):
        # Most of them where something is said about a member.
        near = chance.choice(marks) + chance.randint(0, 80) if chance.random() < 0.8 else chance.randrange(len(data))
        at = min(near, len(data) - 1)
        match chance.randrange(5):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                number = chance.choice(NUMBERS)
                data[at : at + len(number)] = number
            case 2:
                del data[at : at + chance.randint(1, 60)]
            case 3:
                data[at:at] = data[at : at + chance.randint(1, 120)]
            case _:
                other = chance.choice(marks)
                data[at:at] = data[other : other + chance.randint(20, 200)]
    return bytes(data)


def by_us(content: bytes, to: Path) -> dict[str, bytes] | None:
    """What is in the archive that would be loaded; None if it is refused."""
    try:
        archive = Archive(io.BytesIO(content), "best.pt")
        archive.write_again(to)
        archive.pickle()
    except RejectedModelError:
        return None
    return by_torch(to.read_bytes())


def by_python(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def by_torch(content: bytes) -> dict[str, bytes]:
    reader = torch._C.PyTorchFileReader(io.BytesIO(content))
    return {name: reader.get_record(name) for name in reader.get_all_records()}


@pytest.mark.parametrize("seed", range(3))
def test_what_is_let_through_is_read_alike_by_python_by_torch_and_by_us(tmp_path: Path, seed: int) -> None:
    chance, content, passed = random.Random(seed), saved(), 0
    for _ in range(ROUNDS // 3):
        one = altered(content, chance)
        ours = by_us(one, tmp_path / "checked.pt")
        if ours is not None:
            passed += 1
            assert ours == by_python(one) == by_torch(one)
    assert passed > 10, "nothing was compared"


def test_an_unaltered_archive_is_let_through_and_loads_the_same(tmp_path: Path) -> None:
    content = saved()
    assert by_us(content, tmp_path / "checked.pt") == by_python(content)
    again = torch.load(tmp_path / "checked.pt", weights_only=True)
    assert torch.equal(again["weights"], torch.arange(6.0))


def test_every_name_that_is_allowed_is_a_class_or_one_that_makes_tensors_or_text() -> None:
    functions = {("_codecs", "encode"), ("torch._utils", "_rebuild_parameter"), ("torch._utils", "_rebuild_tensor_v2")}
    values = {"torch": torch.dtype}
    for module, name in ALLOWED - functions:
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue  # Of another release.
        kinds = (type, values.get(module, type))
        is_scalar = name == "scalar" and "multiarray" in module
        assert isinstance(found, kinds) or is_scalar, f"{module}.{name} is {found!r}"


def test_a_loader_that_is_not_restricted_is_noticed() -> None:
    """In this process nobody asked for it."""
    with pytest.raises(RuntimeError, match="not in force"):
        require_restricted_loading()
