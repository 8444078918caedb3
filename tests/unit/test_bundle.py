from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import banana_delivery
from banana_delivery import bundle
from banana_delivery.bundle import CHECKOUT, python_path
from banana_delivery.images.release import pins
from tests import ROOT

PACKAGE = Path(banana_delivery.__file__).parent
LINKS = [path for path in (PACKAGE / "bundle").rglob("*") if path.is_symlink()]


def test_the_checkout_is_the_one_that_is_tested() -> None:
    assert CHECKOUT == ROOT == PACKAGE.parent


@pytest.mark.parametrize("link", LINKS, ids=lambda link: str(link.relative_to(PACKAGE / "bundle")))
def test_a_link_leads_to_something_in_the_checkout_and_means_the_same_wherever_that_lies(link: Path) -> None:
    assert not link.readlink().is_absolute()
    assert link.resolve(strict=True).is_relative_to(ROOT)


def test_what_is_bundled_has_a_name_by_which_the_product_finds_it() -> None:
    named = {path for name, path in vars(bundle).items() if isinstance(path, Path) and name[0].isalpha()}
    named -= {CHECKOUT, bundle.PACKAGE}
    # The package carries the lock with which it is installed, for whoever asks what that was.
    assert {link.resolve() for link in LINKS} == named | {ROOT / "requirements" / "runtime.txt"}


def test_only_the_bundle_knows_where_the_checkout_is() -> None:
    climbs = re.compile(r"__file__\)?[^\n]*(parent\.parent|parents\[)|\bPROJECT_ROOT\b")
    assert [path for path in PACKAGE.rglob("*.py") if climbs.search(path.read_text())] == []


def test_what_runs_imports_nothing_of_the_checkout_beside_its_package() -> None:
    foreign = re.compile(r"^\s*(?:from|import) (examples|tests|tools|benchmarks)\b", re.MULTILINE)
    assert [
        path
        for path in (*PACKAGE.rglob("*.py"), *bundle.SERVING_CODE.rglob("*.py"))
        if foreign.search(path.read_text())
    ] == []


def test_a_child_finds_the_serving_code_in_an_empty_folder(tmp_path: Path) -> None:
    code = "import pathlib, serving; print(pathlib.Path(serving.__file__).resolve().parent)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env={"PATH": os.defpath, "PYTHONPATH": python_path({}, serving=True)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(bundle.SERVING_CODE)


def test_a_child_imports_what_its_parent_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    parent = {"PYTHONPATH": os.pathsep.join(["docs", "", "/opt/more"])}
    assert python_path(parent) == f"{ROOT / 'docs'}:/opt/more"
    assert python_path(parent, serving=True) == f"{PACKAGE / 'bundle'}:{ROOT / 'docs'}:/opt/more"
    assert python_path({}) == ""


def test_the_build_backend_is_the_one_that_the_lock_has() -> None:
    (wanted,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    locked = pins((ROOT / "requirements" / "runtime.txt").read_text())["setuptools"]
    assert wanted == f"setuptools=={locked}", "say the version of the lock in pyproject.toml"
