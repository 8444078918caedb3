"""Whatever installs a package of ours takes it by hash from a lock, the tools that install included."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from banana_delivery.images.release import pins
from tests import ROOT

REQUIREMENTS = ROOT / "requirements"
LOCKS = sorted(REQUIREMENTS.glob("*.txt"))
INSTALLS = re.compile(
    r"(?<!\.)\b(?:pip[\w.]*(?: --python \S+)? (?:install|sync|download|wheel)|uv build|uvx|uv tool|pipx)\b"
)
FETCHES_NOTHING = {"--no-index", "--no-build-isolation", "--no-deps"}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What make looks at in a clone in which nothing was installed yet."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(REQUIREMENTS, folder / "requirements")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def would_run(folder: Path, *arguments: str) -> list[str]:
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
    )
    return commands(done.stdout)


def commands(script: str) -> list[str]:
    return [line.strip() for line in re.sub(r"\\\n\s*", "", script).splitlines()]


def phony() -> list[str]:
    text = re.sub(r"\\\n\s*", "", (ROOT / "Makefile").read_text())
    (names,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    return str(names).split()


def installing(lines: list[str]) -> list[str]:
    """The parts of command lines that install something."""
    parts = [part for line in lines for part in re.split(r"\|\||&&|;", line)]
    return [part.strip(" {}") for part in parts if INSTALLS.search(part)]


def is_pinned(command: str) -> bool:
    """Whether a command takes only what a lock has the hash of: both what it installs and what would build it."""
    words = set(shlex.split(command.partition("#")[0]))
    if words >= FETCHES_NOTHING:
        return True
    locked = "--require-hashes" in words and any(f"requirements/{path.name}" in command for path in LOCKS)
    if "build" in words:
        return locked and "--build-constraints" in words
    builds_nothing = bool({"--no-build", "--only-binary=:all:", ":all:"} & words)
    return locked and builds_nothing


@pytest.mark.parametrize("target", [*phony(), ".venv/.installed", ".venv/.product"])
def test_make_installs_nothing_without_its_hash(fresh: Path, target: str) -> None:
    lines = would_run(fresh, target)
    assert [command for command in installing(lines) if not is_pinned(command)] == []
    if target not in {"clean", "help", "lock", "wheel"}:
        # uv by pip, twice since the first way may fail; the lock and this checkout by uv. The site needs no checkout,
        # a GPU needs more packages.
        assert len(installing(lines)) == {"docs": 3, "test-gpu": 5}.get(target, 4)
    assert (
        "UV_PYTHON_DOWNLOADS=never"
        in subprocess.run(
            ["make", "-C", fresh, "--eval=shown:;@env", "shown"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
    )


@pytest.mark.parametrize(
    "careless",
    [
        "python3 -m pip install uv==0.13.9",
        "python3 -m pip install --require-hashes --requirement requirements/tools.txt",
        "uv pip install --no-deps --editable .",
        "uv pip install --no-deps --no-index --editable .",
        "uv pip sync requirements/dev.txt",
        "uv pip sync --no-build --require-hashes elsewhere.txt",
        "uv build --wheel .",
        "uv build --wheel --require-hashes requirements/tools.txt",
        "uvx ruff",
    ],
)
def test_what_would_take_anything_else_is_noticed(careless: str) -> None:
    assert [command for command in installing([f"true && {careless}"]) if not is_pinned(command)]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_has_a_hash_for_every_package_and_no_address(lock: Path) -> None:
    entries = re.split(r"\n(?=\S)", lock.read_text().strip())
    assert {entry.partition("==")[0].partition("[")[0] for entry in entries} == pins(lock.read_text()).keys()
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)] == []
    assert "://" not in lock.read_text()


def test_make_lock_writes_every_lock_and_every_input_has_one(fresh: Path) -> None:
    lines = would_run(fresh, "lock")
    written = [path for line in lines for path in re.findall(r"--output-file (\S+)", line)]
    read = {path for line in lines for path in re.findall(r"(\S+\.in)\b", line)}
    assert sorted(written) == [f"requirements/{path.name}" for path in LOCKS]
    assert read == {f"requirements/{path.name}" for path in REQUIREMENTS.glob("*.in")}
    assert all("--generate-hashes" in line for line in lines if "--output-file" in line)


def test_one_setuptools_builds_the_package_wherever_that_is_done() -> None:
    """The checkout is installed by that of the environment, the wheel by that of the tools."""
    there = {path.name: pins(path.read_text()).get("setuptools") for path in LOCKS}
    assert there["tools.txt"] == there["runtime.txt"] == there["dev.txt"] is not None


def test_the_products_packages_are_tested_as_they_are_locked() -> None:
    tested = pins((REQUIREMENTS / "dev.txt").read_text()).items()
    assert pins((REQUIREMENTS / "runtime.txt").read_text()).items() <= tested
    assert pins((REQUIREMENTS / "serving.txt").read_text()).items() <= tested


def test_no_lock_holds_both_builds_of_onnx_runtime() -> None:
    """They are one folder when they are installed, and whichever came last would win."""
    builds = {path.name: pins(path.read_text()).keys() & {"onnxruntime", "onnxruntime-gpu"} for path in LOCKS}

    assert [name for name, found in builds.items() if len(found) > 1] == []
    assert (builds["serving.txt"], builds["serving-gpu.txt"]) == ({"onnxruntime"}, {"onnxruntime-gpu"})


def test_images_for_gpus_differ_in_the_engine_alone() -> None:
    cpu, gpu = (pins((REQUIREMENTS / f"{name}.txt").read_text()).items() for name in ("serving", "serving-gpu"))
    inputs = [(REQUIREMENTS / f"{name}.in").read_text() for name in ("serving", "serving-gpu")]
    asked = [{line for line in text.splitlines() if line and not line.startswith("#")} for text in inputs]

    assert {name for name, _ in cpu - gpu} == {"onnxruntime"}
    assert {name for name, _ in gpu - cpu if not name.startswith("nvidia-")} == {"onnxruntime-gpu"}
    assert asked[0] ^ asked[1] == {"onnxruntime", "onnxruntime-gpu[cuda,cudnn]"}


def scripts() -> list[Path]:
    """Everything else of ours that could install."""
    named = [ROOT / "Dockerfile", ROOT / "k8s/base/dagster/Dockerfile", ROOT / ".ci/run"]
    return [*named, *sorted((ROOT / ".github").rglob("*.yml"))]


@pytest.mark.parametrize("script", scripts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_else_installs_without_a_hash(script: Path) -> None:
    text = script.read_text().replace("/tmp/requirements.txt", "requirements/serving.txt")
    careless = [command for command in installing(commands(text)) if not is_pinned(command)]
    assert careless == []


def test_python_code_that_installs_takes_hashes_too() -> None:
    calls = [
        (path.relative_to(ROOT).as_posix(), line)
        for part in ("banana_delivery", "serving", "benchmarks", "tools", "examples")
        for path in (ROOT / part).rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"[\"']pip[\"'], [\"'](?:install|sync)[\"']", line)
    ]
    assert [path for path, _ in calls] == ["benchmarks/serving.py"]
    options = re.findall(r"options = \[(.*)$", (ROOT / "benchmarks/serving.py").read_text(), re.MULTILINE)
    assert '"--require-hashes", "--no-build"' in options[0]
