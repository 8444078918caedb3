"""The image of the pipeline: what goes into it, and that every pod uses the same one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from banana_delivery.bundle import SERVING_CODE, SERVING_LOCK
from tests import ROOT
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
