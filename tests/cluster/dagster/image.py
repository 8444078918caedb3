"""The pipeline's own image, built as docs/kubernetes.md says, once for each content; and what releases stand on.

As a program it builds the image ahead of the tests: ``python -m tests.cluster.dagster.image``.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from banana_delivery.images.base import BuildContext
from banana_delivery.images.docker.engine import Engine
from banana_delivery.images.docker.store import DockerImages
from tests.cluster.cluster import ROOT
from tests.unit.serving.detectors import write_model

DOCKERFILE = "k8s/base/dagster/Dockerfile"
PARTS = (
    *("pyproject.toml", "README.md", "LICENSE", "Dockerfile", "dagster.yaml", "workspace.yaml"),
    *("requirements", "examples/models", "k8s", "serving", "banana_delivery"),
)
"""What docs/kubernetes.md archives; a test compares them."""
BUILD_SECONDS = 1800


def pipeline_for_tests() -> str:
    """The image that the tests install, by the variables that a cluster has set; returns its name."""
    return build_pipeline(f"{os.environ['REGISTRY']}/cluster-tests/pipeline", os.environ["BASE_IMAGE"])


def build_pipeline(repository: str, base_image: str) -> str:
    """Build the pipeline's image from what git tracks, unless just this was built before; returns its name.

    It is not pushed: the nodes of a cluster that a test may break run on the engine that built it, and it has 8 GB.
    """
    # An engine that was asked for nothing but releases without it, or tidied up, has it no more.
    _docker("pull", "--quiet", base_image)
    base = _docker("image", "inspect", "--format", "{{index .RepoDigests 0}}", base_image).strip()
    context = _context()
    name = f"{repository}:{hashlib.sha256(base.encode() + context).hexdigest()[:16]}"
    if not _docker("image", "ls", "--quiet", name):
        # The network of this machine is where the package index is surely reached.
        options = ("--network", "host", "--build-arg", f"BASE_IMAGE={base}", "--file", DOCKERFILE, "--tag", name)
        _docker("build", "--quiet", *options, "-", stdin=context)
        _forget_others(repository, name)
    return name


def put_runtime(scratch: Path, repository: str, base_image: str) -> None:
    """Let the runtime image be there that releases written without an engine stand on: whoever builds one leaves it."""
    images = DockerImages(
        repository, dockerfile=ROOT / "Dockerfile", base_image=base_image, engine=Engine(network_mode="host")
    )
    model = write_model(scratch, version="0")
    context = BuildContext(model.parent, ROOT / "serving", ROOT / "requirements" / "serving.txt", "0")
    images.build(context, lambda _: None)
    images.close()


def _context() -> bytes:
    """The files as they are, without dates and owners: equal ones are an equal context, and find equal layers."""
    listed = subprocess.run(["git", "ls-files", "-z", *PARTS], cwd=ROOT, check=True, capture_output=True).stdout
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in sorted(filter(None, listed.decode().split("\0"))):
            member = tar.gettarinfo(ROOT / name, arcname=name)
            member.mtime = member.uid = member.gid = 0
            member.uname = member.gname = ""
            if member.isreg():
                # As `git archive` has it, so that a build by hand and this one share their layers.
                member.mode = 0o775 if member.mode & 0o111 else 0o664
                with (ROOT / name).open("rb") as content:
                    tar.addfile(member, content)
            else:
                tar.addfile(member)
    return out.getvalue()


def _forget_others(repository: str, kept: str) -> None:
    names = _docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", repository).split()
    if old := [name for name in names if name != kept]:
        # One that a container still uses stays for the next time.
        subprocess.run(["docker", "image", "rm", *old], check=False, capture_output=True)


def _docker(*arguments: str, stdin: bytes | None = None) -> str:
    ran = subprocess.run(["docker", *arguments], check=False, capture_output=True, input=stdin, timeout=BUILD_SECONDS)
    said = ran.stdout.decode(errors="replace"), ran.stderr.decode(errors="replace")
    assert ran.returncode == 0, f"docker {' '.join(arguments)}: {said[0][-2000:]} {said[1][-2000:]}"
    return said[0]


if __name__ == "__main__":
    sys.stdout.write(f"{pipeline_for_tests()}\n")
