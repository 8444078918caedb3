"""Judges a checkpoint by its bytes, without unpickling it, and writes the archive that may be loaded.

Two independent judges look at its pickle here: picklescan knows what attackers use, and ``archive.known_names`` lists
the little that ultralytics' checkpoints use. Whatever neither knows is refused. A third one, torch's restricted loading
in the subprocess that finally loads the file, stops what both let pass: a model class called with text that it
evaluates. All of it runs in confined processes: a file that is meant to harm its reader is read nowhere else.
"""

from __future__ import annotations

import io
import re
import symtable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from banana_delivery.errors import UnsafeModelError, UnsupportedModelError
from banana_delivery.export.archive.form import Archive
from banana_delivery.export.archive.known_names import is_allowed
from banana_delivery.export.archive.pickled import Name, names_in
from banana_delivery.policy.model import Model
from banana_delivery.quoting import one_line

MAX_SECOND_OPINION = 1024**2
"""Bytes of a pickle of another form that picklescan is asked about, only to say better what is wrong with it."""

OLDER_REPOSITORIES = ("models.yolo", "models.common", "models.experimental")
LAYERS_IN = ("ultralytics.nn.", "ultralytics.utils.loss", "ultralytics.utils.tal", "ultralytics.yolo.utils.")
SCRIPTS = frozenset({"__main__", "__mp_main__"})
"""How Python calls the script that it was started with."""
WRAPPERS = frozenset({
    ("torch.nn.parallel.data_parallel", "DataParallel"),
    ("torch.nn.parallel.distributed", "DistributedDataParallel"),
})  # fmt: skip
"""Around a model that is trained on several GPUs; ultralytics takes them off before it saves."""
MODELS_IN = "ultralytics.nn.tasks"
"""Here are also what loads checkpoints and what evaluates text, under other names in other releases."""
_CLASS = re.compile(r"[A-Z]\w{0,99}", re.ASCII)


class ScanReport(Model):
    """What a safe checkpoint asks for.

    Attributes:
        imports: every ``module.name`` of its pickle, sorted.
        bytes: size of the file.
    """

    imports: tuple[str, ...]
    bytes: int


def scan(checkpoint: Path, to: Path | None = None) -> ScanReport:
    """Judge a checkpoint by its bytes.

    Args:
        checkpoint: the file; what is read of it and how long that takes is bounded.
        to: where an archive of our own with the members that were judged is written, the one to load; None: nowhere.

    Raises:
        UnreadableCheckpointError: if it is not one whole torch archive.
        UnsafeModelError: if two programs could read it differently, if its pickle imports anything a detector does not
            need, or cannot be followed.
    """
    with checkpoint.open("rb") as file:
        archive = Archive(file, checkpoint.name)
        if to:
            archive.write_again(to)
        else:
            archive.verify()
        names = _judge(checkpoint.name, archive.pickle())
    return ScanReport(imports=tuple(sorted(".".join(one) for one in names)), bytes=archive.size)


def _judge(name: str, pickle: bytes) -> frozenset[Name]:
    try:
        names = names_in(name, pickle)
    except UnsafeModelError:
        if len(pickle) <= MAX_SECOND_OPINION:
            _refuse(name, _second_opinion(pickle)[1])
        raise
    dangerous, imports = _second_opinion(pickle)
    _refuse(name, dangerous)
    _refuse_unknown(name, {one for one in names if not is_allowed(*one)})
    if imports is None:
        raise UnsafeModelError(
            f"The pickle in {name} cannot be followed (picklescan gave up), so it was not loaded: do not use it."
        )
    return names


def _refuse(name: str, imports: set[Name] | None) -> None:
    if imports:
        said = ", ".join(sorted(".".join(one) for one in imports))
        raise UnsafeModelError(
            f"The pickle in {name} imports {one_line(said, 1000)}, which no detector needs, so it was not loaded: find "
            "out who made this file before training it again."
        )


def _refuse_unknown(name: str, unknown: set[Name]) -> None:
    """What is on no list: most likely a layer of a fork or of another release, which is no reason for an alarm."""
    said = one_line(", ".join(sorted(".".join(one) for one in unknown)), 1000)
    if any(module.startswith(OLDER_REPOSITORIES) for module, _ in unknown):
        raise UnsupportedModelError(
            f"The model in {name} is made of {said}: it was trained by the code of a repository such as yolov5's or "
            "yolov7's and not by the package ultralytics, which alone is read; train it with that package."
        )
    if unknown and all(_looks_like_layer(*one) for one in unknown):
        raise UnsupportedModelError(
            f"The model in {name} is made of {said}, which ultralytics {version('ultralytics')} does "
            "not have: a layer of a fork, or of a newer release, cannot be loaded without its code. Train the model "
            "with the layers of that release, or add the layer to the product and to its list of known names."
        )
    if unknown and all(module in SCRIPTS and _CLASS.fullmatch(one) for module, one in unknown):
        raise UnsupportedModelError(
            f"The model in {name} is made of {said}, a class of the script that trained it, whose code is not in the "
            "file: bring the model back to ultralytics' own class before it is saved (`model.__class__ = "
            "DetectionModel` for a class that only trains otherwise), or train it without the class."
        )
    if unknown and unknown <= WRAPPERS:
        raise UnsupportedModelError(
            f"The model in {name} is wrapped for several GPUs ({said}): save `model.module` instead of `model`, or "
            "register the best.pt that ultralytics itself writes."
        )
    _refuse(name, unknown)


def _looks_like_layer(module: str, name: str) -> bool:
    """Whether a name is written as classes are, in a part of ultralytics that holds layers and losses and lacks it.

    What is there and on no list is something else: what a module of layers imports, or evaluates text with.
    """
    parts = module.split(".")
    if module == MODELS_IN and not name.endswith("Model"):
        return False
    return (
        module.startswith(LAYERS_IN)
        and all(part.isidentifier() for part in parts)
        and _CLASS.fullmatch(name) is not None
        and not _is_known_there(parts[1:], name)
    )


def _is_known_there(parts: list[str], name: str) -> bool:
    """Whether the installed ultralytics defines or imports a name in one of its modules, of which nothing is run."""
    found = find_spec("ultralytics")
    for folder in (found and found.submodule_search_locations) or ():
        path = Path(folder).joinpath(*parts)
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                symbols = symtable.symtable(file.read_text(encoding="utf-8"), file.name, "exec").get_symbols()
                return any(one.get_name() == name and (one.is_assigned() or one.is_imported()) for one in symbols)
    return False


def _second_opinion(pickle: bytes) -> tuple[set[Name], set[Name] | None]:
    """What picklescan calls dangerous, and all that it sees and we do not allow; the latter None if it gave up."""
    from picklescan.scanner import SafetyLevel, scan_pickle_bytes  # type: ignore[import-untyped]

    result = scan_pickle_bytes(io.BytesIO(pickle), "data.pkl")
    found = {(str(one.module), str(one.name)): one.safety for one in result.globals}
    dangerous = {one for one, safety in found.items() if safety is SafetyLevel.Dangerous}
    if result.scan_err:
        return dangerous, None
    return dangerous, dangerous | {one for one in found if not is_allowed(*one)}
