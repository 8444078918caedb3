"""What goes into a release image, in one normalised form, and the identity that follows from it.

Comparing dependency locks: what a release was built with, and what a host would run it with.

Names of image tags.

Whether building an old version again gives what was built then, and if not, what differs.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from banana_delivery.errors import ImageError
from banana_delivery.files import file_sha256, text_sha256
from banana_delivery.images.base import BuildContext, ImageKey, Parity
from banana_delivery.images.layers import Member
from banana_delivery.names import (
    BASE_LABEL,
    CODE_SHA256_LABEL,
    KEY_LABEL,
    LATEST_TAG,
    LOCK_SHA256_LABEL,
    MODEL_SHA256_LABEL,
    OCI_LICENSES_LABEL,
    OCI_VERSION_LABEL,
    REVISION_TAG_PREFIX,
    RUNTIME_LABEL,
    VERSION_FILE_SHA256_LABEL,
    VERSION_LABEL,
)
from banana_delivery.policy.model import ImageRef

MODEL_PATH = "model/model.onnx"
VERSION_PATH = "model/version.json"
LOCK_PATH = "app/requirements.txt"
CODE_PATH = "app/serving"

LAYERS = ("code", "model", "version")
"""The layers of a release, bottom first: what changes least lies lowest."""


_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def layer_members(context: BuildContext) -> dict[str, tuple[Member, ...]]:
    """The files of each layer, by the layer's name in ``LAYERS``.

    The lock lies beside the code, so that an old release knows the packages it was built for.

    Raises:
        ImageError: if the model, its ``version.json``, the code or the lock is missing.
    """
    lock = Member(LOCK_PATH, _required(context.lock_file, "the serving lock"))
    return {
        "code": (*code_members(context.code_directory), lock),
        "model": (Member(MODEL_PATH, _required(context.model_directory / "model.onnx", "the exported model")),),
        "version": (Member(VERSION_PATH, _required(context.model_directory / "version.json", "its description")),),
    }


def code_members(directory: Path) -> tuple[Member, ...]:
    """Every file of the serving package; no byte code, caches or hidden files.

    Raises:
        ImageError: if the package is missing or holds a symbolic link.
    """
    if not (directory / "__init__.py").is_file():
        raise ImageError(f"{directory} holds no Python package; point the build at the `serving` package.")
    found = sorted(path for path in directory.rglob("*") if _belongs(path.relative_to(directory)))
    for path in found:
        if path.is_symlink():
            raise ImageError(f"{path} is a symbolic link, whose target would not be in the image; put the file there.")
    files = [path for path in found if path.is_file()]
    return tuple(Member(f"{CODE_PATH}/{path.relative_to(directory).as_posix()}", path) for path in files)


def code_sha256(directory: Path) -> str:
    """One sha256 hex over the names and contents of the serving package."""
    lines = [f"{member.name} {file_sha256(member.source)}\n" for member in code_members(directory)]
    return text_sha256("".join(lines))


def key_of(context: BuildContext, base: str, platform_name: str) -> ImageKey:
    """The identity of a build on a base and platform.

    Raises:
        ImageError: if a file of the context is missing.
    """
    members = layer_members(context)
    return ImageKey(
        model=file_sha256(members["model"][0].source),
        version_file=file_sha256(members["version"][0].source),
        code=code_sha256(context.code_directory),
        lock=file_sha256(context.lock_file),
        base=base,
        platform=platform_name,
    )


LICENCE = "AGPL-3.0-or-later"
"""Of the serving code, as an SPDX expression. A model trained with ultralytics is under version 3 of it as well."""


def labels_of(context: BuildContext, key: ImageKey) -> dict[str, str]:
    """All labels of a release: the caller's, and those that say what it was made of."""
    return {
        **context.labels,
        OCI_VERSION_LABEL: context.version,
        OCI_LICENSES_LABEL: LICENCE,
        VERSION_LABEL: context.version,
        KEY_LABEL: key.sha256,
        MODEL_SHA256_LABEL: key.model,
        VERSION_FILE_SHA256_LABEL: key.version_file,
        CODE_SHA256_LABEL: key.code,
        LOCK_SHA256_LABEL: key.lock,
        BASE_LABEL: key.base,
    }


def refuse_elsewhere(ref: ImageRef, *, here: str, is_here: bool) -> None:
    """Let pass only what is kept in a store's own repository.

    Raises:
        ImageError: if it is not.
    """
    if not is_here:
        raise ImageError(
            f"{ref.pinned} is not an image of {here}, where releases of this pipeline are kept; it is not deployed."
        )


def stranger(ref: ImageRef, labels: Mapping[str, str], version: str, models: Collection[str]) -> str:
    """Why an image is not the release that it is said to be, in one sentence; empty if it is.

    Args:
        ref: the image as it is recorded.
        labels: its own, as the store has them.
        version: MLflow model version that is to be released.
        models: sha256 hex of every export of that version that is on record.
    """
    told = [
        ("is of version", labels.get(VERSION_LABEL, "none"), {version} & {ref.version}),
        ("was built for the identity key", labels.get(KEY_LABEL, "none"), {ref.key}),
        ("holds the model", labels.get(MODEL_SHA256_LABEL, "none"), set(models)),
    ]
    wrong = [f"{what} {found[:12]}, not {_either(wanted)}" for what, found, wanted in told if found not in wanted]
    if not wrong:
        return ""
    return (
        f"The image {ref.pinned} is not the release of version {version} that the records say: by its own labels it "
        f"{' and '.join(wrong)}. It is not deployed."
    )


def _either(wanted: Collection[str]) -> str:
    return " or ".join(sorted(one[:12] for one in wanted)) or "one that is on record"


def host_platform() -> str:
    """This host as images name it, for example ``linux/amd64``."""
    machine = platform.machine().lower()
    return f"linux/{_MACHINES.get(machine, machine)}"


def _belongs(path: Path) -> bool:
    hidden = any(part.startswith(".") or part == "__pycache__" for part in path.parts)
    return not hidden and path.suffix != ".pyc"


def _required(path: Path, what: str) -> Path:
    if not path.is_file():
        raise ImageError(f"{path} ({what}) is missing; materialize `model_artifact` again, or correct the path.")
    return path


_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
_NAMED = 5


def pins(lock: str) -> dict[str, str]:
    """The version of each package that a lock pins, by normalised name."""
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in _PIN.findall(lock)}


def difference(built_with: str, host: str) -> str:
    """How a host's lock differs from the one of a release: one clause, empty if the same packages are pinned."""
    before, after = pins(built_with), pins(host)
    changes = [
        f"{name} {before.get(name, 'absent')} -> {after.get(name, 'absent')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    more = f" and {len(changes) - _NAMED} more" if len(changes) > _NAMED else ""
    return ", ".join(changes[:_NAMED]) + more


_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def checked_tags(tags: Iterable[str]) -> frozenset[str]:
    """The tags, each proven to be one that registries accept.

    Raises:
        ImageError: names the first that is not.
    """
    wanted = frozenset(tags)
    for tag in sorted(wanted):
        if not _TAG.fullmatch(tag):
            raise ImageError(
                f"{tag!r} cannot be an image tag; use letters, digits, '.', '_' and '-', at most 128 of them."
            )
    return wanted


@dataclass(frozen=True)
class Contents:
    """What an image is made of, as far as it can be made again.

    Attributes:
        layers: digest of each layer's uncompressed content, by name, bottom first.
        labels: its labels.
        start: how it is run: its command, user, environment and the like; what is empty there is left out.
    """

    layers: dict[str, str]
    labels: dict[str, str]
    start: dict[str, object] = field(default_factory=dict)


def compare(ref: ImageRef, then: Contents, now: Contents) -> Parity:
    """Compare a rebuild with the image."""
    layers = [
        f"layer {name} was {_short(then.layers, name)} and is now {_short(now.layers, name)}"
        for name in [*then.layers, *(name for name in now.layers if name not in then.layers)]
        if then.layers.get(name) != now.layers.get(name)
    ]
    labels = [
        f"label {name} was {then.labels.get(name, 'absent')!r} and is now {now.labels.get(name, 'absent')!r}"
        for name in sorted(then.labels.keys() | now.labels.keys())
        if then.labels.get(name) != now.labels.get(name)
    ]
    start = [
        f"{name} was {then.start.get(name)!r} and is now {now.start.get(name)!r}"
        for name in sorted(then.start.keys() | now.start.keys())
        if then.start.get(name) != now.start.get(name)
    ]
    differences = tuple(layers + labels + start)
    return Parity(ref, differences, only_below=bool(differences) and _above(then) == _above(now))


def compare_each(ref: ImageRef, then: Mapping[str, Contents], now: Mapping[str, Contents]) -> Parity:
    """The same for an image of each platform, by the platform; of one alone it does not matter which that is."""
    if len(then) == len(now) == 1:
        return compare(ref, *then.values(), *now.values())
    gone = [f"{platform} was there and is not now" for platform in then if platform not in now]
    new = [f"{platform} was not there and is now" for platform in now if platform not in then]
    both = {platform: compare(ref, then[platform], now[platform]) for platform in then if platform in now}
    told = [f"{platform}: {one}" for platform, parity in both.items() for one in parity.differences]
    below = bool(told) and not (gone or new) and all(one.proven or one.only_below for one in both.values())
    return Parity(ref, (*gone, *new, *told), only_below=below)


def _above(contents: Contents) -> tuple[object, ...]:
    """What an image is, but for the image of packages that it stands on."""
    layers = {name: layer for name, layer in contents.layers.items() if name in LAYERS}
    labels = {name: value for name, value in contents.labels.items() if name != RUNTIME_LABEL}
    return layers, labels, contents.start


START = (
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "StopSignal",
    "Healthcheck",
    "Shell",
)
"""The keys of an image's ``config`` that say how it is run."""


def start_of(config: Mapping[str, object]) -> dict[str, object]:
    """How an image is run, by the ``config`` of its image config."""
    return {name: config[name] for name in START if config.get(name)}


def _short(layers: dict[str, str], name: str) -> str:
    return layers[name].removeprefix("sha256:")[:12] if name in layers else "absent"


def release_tags(version: str, revision: str) -> frozenset[str]:
    """The tags of a new image: its version, ``latest`` and ``sha-<git revision>``; ``stable`` follows with success.

    Args:
        version: MLflow model version.
        revision: git revision of the code; empty if it is not known.
    """
    return frozenset({version, LATEST_TAG} | ({f"{REVISION_TAG_PREFIX}{revision}"} if revision else set()))
