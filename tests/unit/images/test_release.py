from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from banana_delivery.errors import ImageError
from banana_delivery.images.base import BuildContext
from banana_delivery.images.release import code_members, key_of, labels_of, layer_members
from tests.contract.image_store_contract import Sources


@pytest.fixture
def context(tmp_path: Path) -> BuildContext:
    return Sources(tmp_path).context()


def test_every_input_changes_the_key_and_labels_do_not(context: BuildContext) -> None:
    before = key_of(context, "base", "linux/amd64")

    assert key_of(replace(context, labels={"other": "label"}), "base", "linux/amd64").sha256 == before.sha256
    seen = {
        before.sha256,
        key_of(context, "base2", "linux/amd64").sha256,
        key_of(context, "base", "linux/arm64").sha256,
    }
    for path in (
        context.model_directory / "model.onnx",
        context.model_directory / "version.json",
        context.code_directory / "__init__.py",
        context.lock_file,
    ):
        path.write_bytes(path.read_bytes() + b"\n")
        seen.add(key_of(context, "base", "linux/amd64").sha256)
    assert len(seen) == 7


def test_renaming_a_code_file_changes_the_key(context: BuildContext) -> None:
    (context.code_directory / "a.py").write_text("x")
    before = key_of(context, "base", "linux/amd64")

    (context.code_directory / "a.py").rename(context.code_directory / "b.py")

    assert key_of(context, "base", "linux/amd64") != before


def test_byte_code_and_hidden_files_stay_outside(context: BuildContext) -> None:
    (context.code_directory / ".cache").mkdir()
    (context.code_directory / ".cache" / "junk.py").touch()
    (context.code_directory / "old.pyc").touch()

    assert [member.name for member in code_members(context.code_directory)] == ["app/serving/__init__.py"]


def test_a_symbolic_link_in_the_code_is_refused_by_name(context: BuildContext) -> None:
    (context.code_directory / "settings.py").symlink_to("/etc/hostname")

    with pytest.raises(ImageError, match=r"settings\.py is a symbolic link"):
        code_members(context.code_directory)


def test_a_directory_that_is_no_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="holds no Python package"):
        code_members(tmp_path)


def test_the_lock_travels_with_the_code(context: BuildContext) -> None:
    assert "app/requirements.txt" in [member.name for member in layer_members(context)["code"]]


def test_labels_say_what_the_image_is_made_of_and_keep_the_callers(context: BuildContext) -> None:
    key = key_of(context, "base", "linux/amd64")

    labels = labels_of(context, key)

    assert labels["banana.mlflow.run"] == "run-1"
    assert labels["banana.model.sha256"] == key.model
    assert labels["banana.lock.sha256"] == key.lock
    assert labels["banana.key"] == key.sha256
