from __future__ import annotations

import json
import subprocess
import sys

import pytest

from banana_delivery.errors import ImageError
from banana_delivery.images.supply_chain.installed import READER, Package, asked_for, debian_packages, read_installed
from banana_delivery.policy.model import ImageRef

REF = ImageRef(repository="registry.test/banana", digest="sha256:" + "a" * 64, version="7", key="k")
STATUS = """\
Package: libssl3
Status: install ok installed
Architecture: amd64
Source: openssl
Version: 3.0.11-1~deb12u2

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: bash
Status: install ok installed
Architecture: amd64
Source: bash-src (5.2-1)
Version: 5.2-1+b7
"""


def test_debian_packages_are_those_installed_with_the_source_that_vulnerabilities_are_known_by() -> None:
    found = {one.name: (one.version, one.source, one.source_version) for one in debian_packages(STATUS)}

    assert found == {
        "libssl3": ("3.0.11-1~deb12u2", "openssl", "3.0.11-1~deb12u2"),
        "bash": ("5.2-1+b7", "bash-src", "5.2-1"),
    }


def test_a_package_of_a_distroless_image_has_no_status_and_counts() -> None:
    found = debian_packages("Package: tzdata\nVersion: 2024a-0+deb12u1\nArchitecture: all\n")

    assert [(one.name, one.source) for one in found] == [("tzdata", "tzdata")]


def test_two_architectures_of_a_package_are_two_packages() -> None:
    both = "".join(f"Package: libc6\nVersion: 2\nArchitecture: {one}\n\n" for one in ("amd64", "i386"))

    assert [one.architecture for one in debian_packages(both)] == ["amd64", "i386"]


def test_a_lock_asks_for_what_its_markers_mean_for_this_host() -> None:
    lock = (
        "# a comment\n--index-url nowhere\nNum_Py==2.0.0 ; python_version >= '3.11' \\\n    --hash=sha256:aa\n"
        "pywin32==1 ; sys_platform == 'win32'\npsycopg[binary]==3.2.1 \\\n    --hash=sha256:bb\n"
    )

    wanted = asked_for(lock)

    assert wanted.packages == (Package(name="num-py", version="2.0.0"), Package(name="psycopg", version="3.2.1"))
    assert not wanted.brought


def test_the_reader_tells_what_the_python_that_runs_it_has() -> None:
    output = subprocess.run([sys.executable, "-I", "-c", READER], capture_output=True, text=True, check=True).stdout

    found = read_installed(REF, output)

    assert {"pytest", "packaging"} <= {one.name for one in found.packages}
    assert found.python == ".".join(map(str, sys.version_info[:3]))
    assert found.brought


@pytest.mark.parametrize("output", ["", "Traceback", "[]", json.dumps({"python": "3.11"})])
def test_an_image_that_says_something_else_is_named(output: str) -> None:
    with pytest.raises(ImageError, match=r"registry\.test/banana@sha256:a.*cannot be read"):
        read_installed(REF, output)
