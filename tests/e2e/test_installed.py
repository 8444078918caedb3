"""The package as a stranger installs it: from the wheel and its lock, with no checkout anywhere near."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from banana_delivery import bundle
from banana_delivery.defs.build import build_resources
from banana_delivery.images.release import code_sha256
from banana_delivery.policy.model import Environment, Outcome
from banana_delivery.settings import Settings
from tests import ROOT
from tests.e2e.stack import Stack, until
from tests.upgrade.installing import UV, checkout, install

pytestmark = pytest.mark.e2e

FOREIGN = ("serving", "examples", "tests", "tools", "benchmarks", "requirements", "k8s")
BUNDLED = {
    "Dockerfile": bundle.DOCKERFILE,
    "dagster.yaml": bundle.INSTANCE,
    "workspace.yaml": bundle.WORKSPACE,
    "requirements/serving.txt": bundle.SERVING_LOCK,
    "requirements/serving-gpu.txt": bundle.GPU_SERVING_LOCK,
    "requirements/runtime.txt": ROOT / "requirements" / "runtime.txt",
    "k8s": bundle.MANIFESTS,
    "sample_models": bundle.SAMPLE_MODELS,
}


@dataclass(frozen=True)
class Installed:
    """The package in an environment of its own.

    Attributes:
        environment: the virtual environment.
        person: the home folder of whoever installed it.
        directory: the empty folder in which commands are typed.
    """

    environment: Path
    person: Path
    directory: Path

    @property
    def site_packages(self) -> Path:
        return next(self.environment.glob("lib/python*/site-packages"))

    @property
    def home(self) -> Path:
        """Where the stack keeps everything, as nobody said otherwise."""
        return self.person / ".local" / "share" / "banana-delivery"

    def program(self, name: str) -> str:
        return str(self.environment / "bin" / name)

    @property
    def variables(self) -> dict[str, str]:
        """What a login has: nothing of the checkout that tests it."""
        return {"HOME": str(self.person), "PATH": os.defpath, "LANG": "C.UTF-8"}

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program(program), *arguments],
            cwd=self.directory,
            env=self.variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """What README.md says, by the project's own uv: it shares the downloads with the checkout's environment."""
    source = checkout(tmp_path_factory.mktemp("source"))
    environment = install(source, tmp_path_factory.mktemp("environment") / "venv")
    yield Installed(environment, tmp_path_factory.mktemp("person"), tmp_path_factory.mktemp("empty"))
    shutil.rmtree(environment)


def test_no_other_name_of_the_checkout_becomes_importable(installed: Installed) -> None:
    names = {path.name for path in installed.site_packages.iterdir()}
    assert "banana_delivery" in names
    assert names.isdisjoint(FOREIGN)
    assert not [name for name in names if name.startswith("__editable__")]


def test_the_package_holds_copies_of_all_that_the_product_reads(installed: Installed) -> None:
    there = installed.site_packages / "banana_delivery" / "bundle"
    assert not [path for path in (there, *there.rglob("*")) if path.is_symlink()]
    for name, original in BUNDLED.items():
        files = [path for path in original.rglob("*") if path.is_file()] if original.is_dir() else [original]
        copies = [there / name / path.relative_to(original) for path in files]
        assert [copy for path, copy in zip(files, copies, strict=True) if not filecmp.cmp(path, copy, False)] == []
    entries = {path.name for path in there.iterdir()} - {"__init__.py", "__pycache__"}
    assert entries == {name.partition("/")[0] for name in BUNDLED} | {"serving"}


def test_the_serving_code_is_the_same_to_an_image(installed: Installed) -> None:
    bundled = installed.site_packages / "banana_delivery" / "bundle" / "serving"
    assert code_sha256(bundled) == code_sha256(bundle.SERVING_CODE)


def test_what_the_package_says_it_needs_is_in_its_lock(installed: Installed) -> None:
    said = subprocess.run(
        [UV, "pip", "check", f"--python={installed.environment}/bin/python"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Checked" in said.stderr
    assert "banana-delivery" not in said.stdout + said.stderr


def test_dagster_finds_the_definitions(installed: Installed) -> None:
    done = installed.run("dagster", "definitions", "validate", "-m", "banana_delivery.definitions")
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.long
def test_a_version_is_delivered_to_production_and_the_stack_goes_down(
    installed: Installed, stack_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = {name: value for name, value in stack_environment.items() if name.endswith("_PORT")}
    environment = {**installed.variables, **ports, "BANANA_PLAN": "demo"}
    # This process only looks, and trains: it publishes the sample as whoever trained a model does.
    for name, value in {**ports, "BANANA_HOME": str(installed.home)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    settings = Settings()
    stack = Stack(installed.program("banana-delivery"), environment, build_resources(settings), installed.directory)
    production = stack.resources.release_target.url(Environment.PRODUCTION)
    try:
        stack.command("up")
        version = stack.stage("modest")
        until(lambda: bool(stack.outcomes(version)), "the delivery", 480)
        assert stack.outcomes(version) == [Outcome.RELEASED]
        live = stack.production.live
        assert live is not None
        answer = httpx.get(f"{production}/version", trust_env=False).json()
        assert (answer["version"], answer["digest"]) == (version, live.digest)
        assert live.digest[:19] in stack.command("status")
    finally:
        done = stack.try_command("down")
    assert done.returncode == 0, done.stdout + done.stderr
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{production}/version", trust_env=False)
    assert list(installed.directory.iterdir()) == []
