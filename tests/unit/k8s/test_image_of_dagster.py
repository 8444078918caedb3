"""The image of the pipeline: what goes into it, and that every pod uses the same one."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from banana_delivery.bundle import SERVING_CODE, SERVING_LOCK
from banana_delivery.images.release import LICENCE
from banana_delivery.names import OCI_LICENSES_LABEL
from serving.http import docs
from tests import ROOT
from tests.cluster.dagster.image import PARTS
from tests.unit.k8s.dagster_manifests import K8S, PODS, containers


def test_the_example_gives_every_pod_one_image() -> None:
    example = yaml.safe_load((K8S / "overlays/example/dagster/kustomization.yaml").read_text())
    source, target = example["replacements"][0]["source"], example["replacements"][0]["targets"][0]
    server = PODS["dagster-code-server"]["containers"][0]
    images = {container["image"] for pod in PODS.values() for container in containers(pod)}

    assert images == {example["images"][0]["name"]}
    assert source["name"] == target["select"]["name"] == "dagster-code-server"
    assert f"[name={server['name']}].image" in source["fieldPath"]
    assert {entry["name"] for entry in server["env"]} == set(
        re.findall(r"env\.\[name=(\w+)\]", target["fieldPaths"][0])
    )


def test_the_tests_on_a_cluster_build_the_image_from_what_the_page_archives() -> None:
    page = (ROOT / "docs/kubernetes.md").read_text()
    (archived,) = re.findall(r"git archive HEAD (.+) \\\n", page)

    assert archived.split() == list(PARTS)


def test_every_image_that_a_cluster_is_told_to_run_is_named_by_digest() -> None:
    """Kustomize would put a tag as well, which says nothing of what will run."""
    changed = [
        image
        for file in K8S.rglob("kustomization.yaml")
        for image in yaml.safe_load(file.read_text()).get("images", [])
    ]
    values = yaml.safe_load((K8S / "dagster/helm-values.yaml").read_text())["dagster-user-deployments"]["deployments"]
    # The chart writes repository:tag.
    told = [f"x:{one['image']['tag']}" for one in values] + [f"x@{image.get('digest')}" for image in changed]

    assert {image["name"] for image in changed} == {c["image"] for pod in PODS.values() for c in containers(pod)}
    assert len(told) > 1
    assert [image for image in told if not re.fullmatch(r"x(:\w+)?@sha256:[0-9a-f]{64}", image)] == []
    assert not [image for image in changed if "newTag" in image]


@pytest.mark.parametrize(
    ("base", "taken"),
    [
        (f"python:3.11-slim@sha256:{'a' * 64}", True),
        (f"sha256:{'a' * 64}", True),
        ("python:3.11-slim", False),
        ("python", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("dockerfile", ["Dockerfile", "k8s/base/dagster/Dockerfile"])
def test_an_image_is_built_on_no_base_whose_name_may_move(dockerfile: str, base: str, taken: bool) -> None:
    text = (ROOT / dockerfile).read_text()
    (guard,) = re.findall(r"^RUN (case .* esac)", text, re.MULTILINE)
    done = subprocess.run(["sh", "-euc", guard], env={"BASE_IMAGE": base}, capture_output=True, text=True, check=False)

    assert re.search(
        r"^ARG BASE_IMAGE\n[^F]*FROM \$\{BASE_IMAGE\}[^\n]*\nARG BASE_IMAGE\nSHELL.*\n(.*\n)*?RUN case", text, re.M
    )
    assert (done.returncode == 0) is taken
    assert taken or (base in done.stderr and "name it by digest" in done.stderr)


@pytest.mark.parametrize("dockerfile", ["Dockerfile", "k8s/base/dagster/Dockerfile"])
def test_an_image_says_under_which_licence_it_is(dockerfile: str) -> None:
    assert f"{OCI_LICENSES_LABEL}={LICENCE}" in (ROOT / dockerfile).read_text()
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"] == LICENCE == docs.LICENCE


@pytest.mark.parametrize("dockerfile", ["Dockerfile", "k8s/base/dagster/Dockerfile"])
def test_the_linter_of_dockerfiles_finds_nothing(dockerfile: str) -> None:
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([linter, ROOT / dockerfile], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_documented_context_holds_all_that_the_image_takes_and_the_pipeline_reads() -> None:
    page = (ROOT / "docs/kubernetes.md").read_text()
    context = set(re.findall(r"git archive HEAD (.*) \\", page)[0].split())
    dockerfile = (K8S / "base/dagster/Dockerfile").read_text()
    copied = {source for line in re.findall(r"^COPY (.*) \S+$", dockerfile, re.MULTILINE) for source in line.split()}
    bundled = {path.resolve() for path in (ROOT / "banana_delivery/bundle").rglob("*") if path.is_symlink()}

    assert copied - {"requirements/runtime.txt"} == context, "which is there twice: in a layer that changes least"
    assert {SERVING_CODE, SERVING_LOCK, ROOT / "Dockerfile", ROOT / "examples/models"} <= bundled
    missing = [path for path in bundled if not any(path.is_relative_to(ROOT / source) for source in copied)]
    assert not missing
