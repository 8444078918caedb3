"""What k8s/README.md says: sizes that the manifests have, folders that are there, and who owns which field."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml

from banana_delivery.targets.kubernetes.objects import STRATEGY
from tests import ROOT

K8S = ROOT / "k8s"
README = (K8S / "README.md").read_text()
UNITS = {"": Fraction(1), "m": Fraction(1, 1000), "Mi": Fraction(1024**2), "Gi": Fraction(1024**3)}
PRODUCTION, STAGING = "banana-api-blue", "banana-api-staging"


@dataclass(frozen=True)
class Need:
    """Replicas, then CPU and GiB that are reserved, then the same at most; rounded to what the page shows."""

    replicas: int
    figures: tuple[float, ...]


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def quantity(text: str) -> Fraction:
    number, unit = re.fullmatch(r"(\d+)(\w*)", text).groups()  # type: ignore[union-attr]
    return int(number) * UNITS[unit]


def amounts(resources: dict[str, dict[str, str]]) -> tuple[Fraction, ...]:
    return tuple(
        quantity(resources[kind][what]) / (1 if what == "cpu" else UNITS["Gi"])
        for kind in ("requests", "limits")
        for what in ("cpu", "memory")
    )


def template(name: str, *kustomizations: Path) -> Any:
    """The PodTemplate of that name, with the patches of these folders, one after the other."""
    thing = read(K8S / "base/replicas/pod-template.yaml")
    for folder in kustomizations:
        for patch in read(folder / "kustomization.yaml")["patches"]:
            target = patch["target"]
            if target["kind"] == "PodTemplate" and re.fullmatch(target.get("name", ".*"), name):
                for change in yaml.safe_load(patch["patch"]):
                    apply(thing, change)
    return thing


def apply(thing: Any, change: dict[str, Any]) -> None:
    *way, last = (part.replace("~1", "/") for part in change["path"].removeprefix("/").split("/"))
    for part in way:
        thing = thing[int(part) if isinstance(thing, list) else part]
    if change["op"] == "replace":
        thing[int(last) if isinstance(thing, list) else last] = change["value"]
    else:
        assert change["op"] == "test"


def at_its_peak(*components: Path) -> Need:
    """Both colours at full strength, staging, and the replica by which an update of a colour exceeds its number."""
    production = template(PRODUCTION, K8S / "environments/production/blue", *components)
    staging = template(STAGING, K8S / "environments/staging/sole", *components)
    colours, surge = len(list((K8S / "environments/production").glob("*/"))), STRATEGY["rollingUpdate"]["maxSurge"]
    counts = (colours * replicas(production) + surge, replicas(staging))
    each = (amounts(container(production)["resources"]), amounts(container(staging)["resources"]))
    sums = [counts[0] * one + counts[1] * other for one, other in zip(*each, strict=True)]
    return Need(sum(counts), rounded(sums))


def replicas(thing: Any) -> int:
    return int(thing["metadata"]["annotations"]["banana-delivery/replicas"])


def container(thing: Any) -> Any:
    (found,) = thing["template"]["spec"]["containers"]
    return found


def dagster_with_one_run() -> tuple[float, ...]:
    deployments = [
        thing["spec"]
        for name in ("code-server", "webserver", "daemon")
        for thing in yaml.safe_load_all((K8S / f"base/dagster/{name}.yaml").read_text())
        if thing["kind"] == "Deployment"
    ]
    assert [one["replicas"] for one in deployments] == [1, 1, 1]
    run = read(K8S / "base/dagster/dagster.yaml")["run_launcher"]["config"]["resources"]
    each = [amounts(one["template"]["spec"]["containers"][0]["resources"]) for one in deployments]
    return rounded([sum(column, Fraction(0)) for column in zip(*each, amounts(run), strict=True)])


def rounded(sums: list[Fraction]) -> tuple[float, ...]:
    return tuple(round(float(figure), 2) for figure in sums)


def told(row: str) -> list[str]:
    (line,) = re.findall(rf"^\| {re.escape(row)} \|(.*)\|$", README, re.MULTILINE)
    return [cell.strip() for cell in line.split("|")]


@pytest.mark.parametrize(
    ("row", "components"), [("by default", ()), ("with `components/small`", (K8S / "components/small",))]
)
def test_a_release_needs_at_its_peak_what_the_page_says(row: str, components: tuple[Path, ...]) -> None:
    count, *figures = told(row)

    assert Need(int(count), tuple(map(float, figures))) == at_its_peak(*components)


def test_dagster_needs_what_the_page_says() -> None:
    _, *figures = told("Dagster beside it, with one run")

    assert tuple(map(float, figures)) == dagster_with_one_run()


def test_both_colours_are_of_one_size() -> None:
    colours = [template(PRODUCTION, K8S / "environments/production" / colour) for colour in ("blue", "green")]

    assert colours[0] == colours[1]


def test_the_page_fits_on_a_screen_and_every_folder_that_it_names_is_there() -> None:
    named = set(re.findall(r"`((?:base|environments|components|overlays)(?:/[a-z/-]+)?)`", README))

    assert len(README.splitlines()) <= 42
    assert len(named) > 5 and not [folder for folder in named if not (K8S / folder).is_dir()]


def test_the_page_and_the_documents_tell_the_same_of_who_owns_which_field() -> None:
    rows = re.findall(r"\| object \| yours .*?(?=\n\n|\Z)", README, re.DOTALL)

    assert len(rows) == 1
    assert rows[0].strip() in (ROOT / "docs/kubernetes.md").read_text()


def test_the_example_still_finds_its_parts_when_it_was_copied_as_the_page_and_the_documents_say() -> None:
    for page in (README, (ROOT / "docs/kubernetes.md").read_text()):
        copies = dict(re.findall(r"cp -r (\S+) ([\w/-]+)", page))
        assert "k8s/overlays/example" in copies
        for source, copy in copies.items():
            for path in sorted((ROOT / source).rglob("kustomization.yaml")):
                there = ROOT / copy / path.parent.relative_to(ROOT / source)
                for part in read(path)["resources"]:
                    # The copy is not there, and `..` from a folder that is not there leads nowhere.
                    found = os.path.normpath(there / part).replace(str(ROOT / copy), str(ROOT / source))
                    assert Path(found).exists(), (path, part)
