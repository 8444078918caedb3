"""The commands of docs/kubernetes.md: which are typed on the cluster of the tests, and why others are not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests import ROOT
from tests.e2e.typing import Typed

PAGE = ROOT / "docs" / "kubernetes.md"
HEADING = re.compile(r"#+ (.*)")
PROGRAM = re.compile(r"(kubectl|docker|helm|istioctl|make|cp|export|for|git) |[A-Z_]+=")
"""What a command begins with."""


@dataclass(frozen=True)
class Block:
    """A block of code of a page.

    Attributes:
        heading: under which it stands.
        lines: without their indentation.
    """

    heading: str
    lines: tuple[str, ...]

    @property
    def commands(self) -> list[Typed]:
        """What a shell is given at once: a line, with those that go on from it; a picture or a file is one piece."""
        if not PROGRAM.match(self.lines[0]):
            return [Typed("\n".join(self.lines))]
        found: list[Typed] = []
        held: list[str] = []
        for line in self.lines:
            held.append(line)
            if not line.endswith("\\") and (not held[0].startswith("for ") or line == "done"):
                found.append(Typed("\n".join(held)))
                held = []
        return found


def blocks_in(page: str) -> list[Block]:
    """The indented blocks of a page, in order; an empty line between two is none of them."""
    found: list[Block] = []
    heading, lines = "", list[str]()
    for line in [*page.splitlines(), "end"]:
        if line.startswith("    ") and line.strip():
            lines.append(line.removeprefix("    "))
            continue
        if lines:
            found.append(Block(heading, tuple(lines)))
            lines = []
        if named := HEADING.fullmatch(line):
            heading = named[1]
    return found


THERE, MOVES = "What is there", "What moves when"
RUNNING, UPGRADE = "Running the pipeline itself on the cluster", "Another version"
NAMES = "Namespaces of your naming"
FIRST, REMOVAL = "From nothing to a first release", "Taking it away"
TYPED: tuple[tuple[str, str], ...] = (
    (FIRST, "cp -r k8s/overlays/example"),
    (NAMES, "cp -r k8s/overlays/named"),
    (FIRST, "kubectl apply -k k8s/overlays/yours"),
    (THERE, "kubectl create secret docker-registry registry-pull"),
    (THERE, "kubectl create secret generic database-secret"),
    (RUNNING, "docker pull"),
    (RUNNING, "BASE_IMAGE="),
    (RUNNING, "git archive"),
    (RUNNING, "kubectl apply -k k8s/base/rbac"),
    (RUNNING, "kubectl create secret generic dagster-postgres"),
    (RUNNING, "kubectl create secret generic banana-delivery-evidence"),
    (RUNNING, "kubectl create secret generic banana-delivery-secrets"),
    (RUNNING, "kubectl create secret generic dagster-pages"),
    (RUNNING, "kubectl create secret generic banana-delivery-page"),
    (RUNNING, "kubectl create secret docker-registry registry-pull"),
    (RUNNING, "kubectl apply -k k8s/overlays/yours/dagster"),
    (RUNNING, "kubectl wait"),
    (RUNNING, "kubectl exec -it"),
    (RUNNING, "kubectl port-forward"),
    (RUNNING, "kubectl exec -n"),
    (MOVES, "kubectl get httproute"),
    (UPGRADE, "kubectl delete job"),
    (UPGRADE, "kubectl apply -k k8s/overlays/yours/dagster -l"),
    (UPGRADE, "kubectl wait"),
    (UPGRADE, "kubectl apply -k k8s/overlays/yours/dagster"),
    (REMOVAL, "kubectl delete deployment dagster-daemon"),
    (REMOVAL, "kubectl delete job"),
    (REMOVAL, "kubectl delete -k k8s/overlays/yours/dagster"),
    (REMOVAL, "kubectl delete -k k8s/overlays/yours"),
)
"""What is typed, by its heading and how it begins, in that order; of two that fit, the longer one is meant."""

PICTURE = "a picture"
KIND = "kind needs an engine that runs privileged containers, and its node image; hack/e2e-kind.sh plays it elsewhere"
OUTSIDE = "of a pipeline beside the cluster, as test_demo.py runs it; here it runs on it"
TWO = "two clusters; test_pipeline_account.py delivers through two contexts with the rights of each"
GATEWAY = "installs another Gateway, from charts that cannot be had here; this cluster has Traefik without one"
PUBLISHER = "test_publisher.py has Jobs write; the copy of the overlay leaves it out, as the page says"
LEFT_OUT: tuple[tuple[str, str, str], ...] = (
    (THERE, "namespace staging", PICTURE),
    (MOVES, "at rest         users", PICTURE),
    (MOVES, "at rest         selector", PICTURE),
    (FIRST, "kind: Cluster", KIND),
    (FIRST, "docker run -d --restart=always", KIND),
    (FIRST, "kind create cluster", KIND),
    (FIRST, "docker network connect", KIND),
    (FIRST, "docker exec kind", KIND),
    (FIRST, "echo '[host.", KIND),
    (FIRST, "kubectl apply -k k8s/overlays/dev/without-gateway", f"{KIND}; the cluster suite applies it"),
    (FIRST, "export BANANA_", OUTSIDE),
    ("Nodes with GPUs", "export BANANA_SERVING_DEVICE", "there is no GPU on the node; make test-gpu serves on one"),
    ("Staging and production in two clusters", "", TWO),
    (RUNNING, "dagster-webserver   pages", PICTURE),
    (RUNNING, "docker push", "one node, whose own engine builds: the page says that nothing is pushed then"),
    (RUNNING, "kubectl create secret generic banana-delivery-publisher", PUBLISHER),
    (RUNNING, "kubectl create secret generic banana-delivery-signing", PUBLISHER),
    (
        RUNNING,
        "kubectl create secret generic docker-client",
        "releases are written without an engine, as in the example",
    ),
    ("The demonstration on a cluster", "", "test_demo.py plays it, by these variables and this target"),
    ("Traefik", "", GATEWAY),
    ("Envoy Gateway", "", GATEWAY),
    ("Istio", "", GATEWAY),
)
"""What is not, by its heading and how its command begins, each with the reason; an empty one is all of it."""


def wanted(heading: str, begins: str) -> str:
    """How a command of a section is written down on the page; of several the first.

    Raises:
        LookupError: if there is none.
    """
    for one in blocks_in(PAGE.read_text()):
        for typed in one.commands if one.heading == heading else []:
            if place_of(heading, typed.command) == (heading, begins):
                return typed.command
    raise LookupError(f"{PAGE.name} has no command under '{heading}' that begins with '{begins}'")


def place_of(heading: str, command: str) -> tuple[str, str] | None:
    """The line of the two lists that is about a command; None if none is."""
    known = [*TYPED, *((where, begins) for where, begins, _ in LEFT_OUT)]
    found = [(where, begins) for where, begins in known if where == heading and command.startswith(begins)]
    return max(found, key=lambda one: len(one[1]), default=None)


def every_command() -> Iterator[tuple[str, str]]:
    """Each command of the page, with its heading."""
    for block in blocks_in(PAGE.read_text()):
        for typed in block.commands:
            yield block.heading, typed.command
