"""Reading the Dockerfile: its parts, what changes an image, and what its last two stages say of one.

The stages ``runtime`` and ``release`` only copy files and say how they are run, so they need no engine: what they say
is read here.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from string import Template
from typing import Any

from banana_delivery.errors import ImageError
from banana_delivery.images.release import LAYERS

PACKAGES = "/opt/venv"
"""Where a runtime image has its packages."""
USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Of an image that names none, by what engines do."""
_FROM = re.compile(r"^FROM\s+\S+\s+AS\s+(\S+)\s*$", re.IGNORECASE | re.MULTILINE)
_CONTINUED = re.compile(r"\\[ \t]*\n")
_OPTION = re.compile(r"--([a-z-]+)=(\S+)\s+")
_DURATION = re.compile(r"(\d+)(ms|s|m|h)")
_NANOSECONDS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_HEALTH_OPTIONS = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod"}


def runtime_stages(dockerfile: str) -> str:
    """The Dockerfile up to the stage ``release``: what a runtime image is made of.

    Raises:
        ImageError: if there is no such stage.
    """
    return dockerfile[: _release_start(dockerfile)]


def release_stage(dockerfile: str) -> str:
    """The Dockerfile's arguments and its stage ``release`` alone.

    The classic builder runs every stage before the one that is wanted, even those that nothing needs; on an engine
    that has never seen the runtime's packages it would install them all again.

    Raises:
        ImageError: if there is no such stage.
    """
    first = _FROM.search(dockerfile)
    start = _release_start(dockerfile)
    return dockerfile[: first.start() if first else 0] + dockerfile[start:]


def instructions(dockerfile: str) -> str:
    """A Dockerfile without comments and empty lines, which change nothing."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return "\n".join(lines)


def release_start(dockerfile: str) -> dict[str, Any]:
    """How the stage ``release`` says that its image is run, as an engine would note it in the image's config.

    Raises:
        ImageError: if the stage says something that only an engine can carry out, or does not copy the layers in order.
    """
    start: dict[str, Any] = {}
    copied = []
    for name, said in _told(dockerfile[_release_start(dockerfile) :], "${RUNTIME_IMAGE}", "release"):
        if name == "COPY":
            copied.append(said)
        elif name == "CMD":
            start["Cmd"] = _words(said)
        elif name == "HEALTHCHECK":
            start["Healthcheck"] = _healthcheck(said)
        elif name == "EXPOSE" and said.isdigit():
            start.setdefault("ExposedPorts", {})[f"{said}/tcp"] = {}
        else:
            raise _needs_engine(f"{name} {said}")
    if copied != [f"{layer}/ /" for layer in LAYERS]:
        raise _needs_engine(f"COPY {', '.join(copied)}")
    return start


def packages_stage(dockerfile: str) -> str:
    """The instructions by which an engine installs the packages: what stands before the stage ``runtime``.

    Raises:
        ImageError: if there is no such stage.
    """
    return instructions(dockerfile[: _start_of(dockerfile, "runtime")])


def runtime_start(dockerfile: str, base: Mapping[str, Any]) -> dict[str, Any]:
    """What the stage ``runtime`` makes of its base's ``config``.

    Args:
        dockerfile: with the stage.
        base: how the base is run, as its image config says.

    Raises:
        ImageError: if the stage says something that only an engine can carry out, or copies anything but the packages.
    """
    start = dict(base)
    variables = dict(one.split("=", 1) for one in base.get("Env") or () if "=" in one)
    copied = []
    stage = dockerfile[_start_of(dockerfile, "runtime") : _release_start(dockerfile)]
    for name, said in _told(stage, "${BASE_IMAGE}", "runtime"):
        if name == "COPY":
            copied.append(said)
        elif name == "ENV":
            # All of one instruction see what was set before it, and not each other.
            variables |= _pairs(said, {"PATH": USUAL_PATH, **variables})
        elif name == "LABEL":
            start["Labels"] = {**(start.get("Labels") or {}), **_pairs(said, variables)}
        elif name == "USER" and "$" not in said:
            start["User"] = said
        elif name == "WORKDIR" and said.startswith("/") and "$" not in said:
            start["WorkingDir"] = said
        else:
            raise _needs_engine(f"{name} {said}", "runtime")
    if copied != [f"--from=packages {PACKAGES} {PACKAGES}"]:
        raise _needs_engine(f"COPY {', '.join(copied)}", "runtime")
    return {**start, "Env": [f"{name}={value}" for name, value in variables.items()]}


def _pairs(said: str, variables: Mapping[str, str]) -> dict[str, str]:
    """``NAME=value ...`` with the values of variables put in."""
    try:
        pairs = [one.split("=", 1) for one in shlex.split(said)]
        return {name: Template(value).substitute(variables) for name, value in pairs}
    except (ValueError, KeyError):
        raise _needs_engine(said, "runtime") from None


def _release_start(dockerfile: str) -> int:
    return _start_of(dockerfile, "release")


def _start_of(dockerfile: str, wanted: str) -> int:
    for stage in _FROM.finditer(dockerfile):
        if stage[1] == wanted:
            return stage.start()
    raise ImageError(f"The Dockerfile has no stage named {wanted}; restore it from the repository.")


def _told(stage: str, below: str, name_of_it: str) -> Iterator[tuple[str, str]]:
    """The instructions of a stage after its ``FROM``: name and the rest.

    Raises:
        ImageError: if the stage stands on something else.
    """
    first, *lines = _CONTINUED.sub("", instructions(stage)).splitlines()
    if first.split()[1] != below:
        raise _needs_engine(first, name_of_it)
    for line in lines:
        name, _, said = line.strip().partition(" ")
        yield name.upper(), said.strip()


def _words(said: str) -> list[str]:
    """A command in the form that needs no shell."""
    try:
        words = json.loads(said)
    except ValueError:
        raise _needs_engine(said) from None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise _needs_engine(said)
    return words


def _healthcheck(said: str) -> dict[str, Any]:
    check: dict[str, Any] = {}
    while option := _OPTION.match(said):
        said = said[option.end() :]
        if option[1] == "retries" and option[2].isdigit():
            check["Retries"] = int(option[2])
        elif option[1] in _HEALTH_OPTIONS and (duration := _DURATION.fullmatch(option[2])):
            check[_HEALTH_OPTIONS[option[1]]] = int(duration[1]) * _NANOSECONDS[duration[2]]
        else:
            raise _needs_engine(f"HEALTHCHECK {option[0]}")
    kind, _, command = said.partition(" ")
    if kind.upper() != "CMD":
        raise _needs_engine(f"HEALTHCHECK {said}")
    return {"Test": ["CMD", *_words(command.strip())], **check}


def _needs_engine(said: str, stage: str = "release") -> ImageError:
    return ImageError(
        f"The Dockerfile's stage {stage} says {said!r}, which cannot be carried out without an engine; set "
        "BANANA_BUILDER=docker, or take it out."
    )
