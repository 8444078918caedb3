"""docs/kubernetes.md taken at its word: what it tells people to apply, to copy, to name and to set is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from banana_delivery.defs.sensors import build_sensors
from tests import ROOT
from tests.cluster.kubernetes_page import LEFT_OUT, TYPED, every_command, place_of
from tests.unit.k8s.dagster_manifests import K8S
from tests.unit.k8s.test_readme_of_manifests import README

PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
YOURS = re.compile(r"k8s/overlays/yours(-named)?")
TEXTS = {path: path.read_text() for path in sorted(K8S.rglob("*")) if path.suffix in {".yaml", ".env"}}


def anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_every_path_that_it_names_is_there() -> None:
    named = set(re.findall(r"(?<![\w./-])(?:k8s|hack|tests|\.github|requirements)/[\w./-]*\w", PAGE))
    missing = [path for path in named if not YOURS.match(path) and not (ROOT / path).exists()]

    assert len(named) > 15
    assert missing == []


def test_every_command_is_typed_by_a_test_on_a_cluster_or_left_out_for_a_reason() -> None:
    places = {(heading, command): place_of(heading, command) for heading, command in every_command()}

    assert len(places) > 60
    assert [command for command, place in places.items() if place is None] == []
    listed = {*TYPED, *((heading, begins) for heading, begins, _ in LEFT_OUT)}
    assert listed - set(places.values()) == set(), "a command that the page has no more"
    assert len(listed) == len(TYPED) + len(LEFT_OUT), "typed and left out"


def test_a_copy_is_named_only_where_it_was_told_to_be_made() -> None:
    copies = dict(re.findall(r"cp -r (\S+) (\S+)", PAGE))
    used = {found[0] for found in re.finditer(r"k8s/overlays/yours(?:-named)?(?:/[\w-]+)?", PAGE)}

    for path in used:
        [source] = [source for source, copy in copies.items() if path == copy or path.startswith(f"{copy}/")]
        assert (ROOT / path.replace(copies[source], source) / "kustomization.yaml").is_file(), path


def test_every_folder_that_is_applied_is_a_kustomization() -> None:
    applied = [YOURS.sub("k8s/overlays/example", path) for path in re.findall(r"apply -k (k8s/[\w./-]+)", PAGE)]

    assert len(applied) > 5
    for path in applied:
        told = yaml.safe_load((ROOT / path / "kustomization.yaml").read_text()) if "$" not in path else {}
        assert told.get("kind", "Kustomization") == "Kustomization", path
    for part in re.findall(r"for part in ([\w /]+);", PAGE):
        for name in part.replace("#", "").split():
            assert (K8S / "base/rbac" / name / "kustomization.yaml").is_file()


def test_every_component_that_it_names_is_one_by_the_path_that_an_overlay_writes() -> None:
    named = set(re.findall(r"`\.\./\.\./(components/[\w/-]+)`", PAGE))

    assert len(named) >= 6
    for path in named:
        assert yaml.safe_load((K8S / path / "kustomization.yaml").read_text())["kind"] == "Component"


@pytest.mark.parametrize("kind", ["components", "overlays"])
def test_no_overlay_and_no_component_is_there_that_no_page_names(kind: str) -> None:
    """A part of one is named with it, or is what it is made of."""
    told = f"{PAGE}\n{README}"
    tops = {path.name for path in (K8S / kind).iterdir() if path.is_dir()}

    assert sorted(name for name in tops if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", told)) == []
    inner = {path.parent for path in (K8S / kind).rglob("kustomization.yaml")}
    for folder in inner:
        parts = folder.relative_to(K8S / kind).parts
        used = any(
            folder == (path.parent / name).resolve()
            for path, text in TEXTS.items()
            if path.name == "kustomization.yaml"
            for found in [yaml.safe_load(text)]
            for name in [*found.get("resources", []), *found.get("components", [])]
        )
        assert used or all(part in told for part in parts), folder


def test_every_secret_that_it_makes_is_read_by_something_or_is_the_operators_own() -> None:
    made = set(re.findall(r"kubectl create secret [\w-]+ ([\w-]+)", PAGE))
    everything = "\n".join(TEXTS.values())

    assert {"registry-pull", "database-secret", "dagster-postgres", "banana-delivery-evidence"} <= made
    assert [name for name in made if name not in everything] == []


def test_every_service_and_object_that_a_command_names_is_in_a_manifest() -> None:
    named = set(re.findall(r"(?:deploy|service|deployment)/([\w-]+)", PAGE))
    names = set(re.findall(r"name: ([\w-]+)", "\n".join(TEXTS.values())))

    assert named
    assert [name for name in named if name not in names] == []


def test_every_link_within_it_leads_to_a_heading() -> None:
    headings = {anchor(line.lstrip("# ")) for line in re.findall(r"^#+ .*$", PAGE, re.MULTILINE)}

    assert [link for link in re.findall(r"\]\(#([\w-]+)\)", PAGE) if link not in headings] == []


def test_links_to_parts_of_other_pages_lead_to_their_headings() -> None:
    for target, part in re.findall(r"\]\(((?!https?:)[^)#]+\.md)#([\w-]+)\)", PAGE):
        text = (ROOT / "docs" / target).read_text()
        assert part in {anchor(line.lstrip("# ")) for line in re.findall(r"^#+ .*$", text, re.MULTILINE)}, (
            target,
            part,
        )


@pytest.mark.parametrize(
    "told",
    [
        "cp -r k8s/overlays/example k8s/overlays/yours",
        "../k8s/README.md#sizes",
        "### Namespaces of your naming",
        "Apply in this order:",
        "`BANANA_BUILD_NETWORK=host`",
        "no DNS in the cluster",
        "`hostNetwork: true`",
        "an engine without TLS",
        "`BANANA_BUILDER=registry`",
        "| arm64 |",
        "| a private registry |",
    ],
)
def test_what_strangers_asked_for_is_answered(told: str) -> None:
    assert told in PAGE


def test_the_sensor_that_scales_down_is_called_so() -> None:
    names = {sensor.name for sensor in build_sensors(starting=False)}

    assert set(re.findall(r"the sensor `(\w+)`", PAGE)) <= names


def test_an_engine_without_tls_is_what_an_overlay_can_say() -> None:
    """docker's client takes either variable as a wish for TLS, and one that is set to nothing as none."""
    settings = Path(K8S / "environments/dagster/settings.env").read_text()

    assert re.findall(r"^(DOCKER_\w+)=", settings, re.MULTILINE) == [
        "DOCKER_HOST",
        "DOCKER_TLS_VERIFY",
        "DOCKER_CERT_PATH",
    ]
