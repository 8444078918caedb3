"""Pickles that got past scanners of pickles, as published; built here by hand, and refused unrun."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from banana_delivery.errors import UnsafeModelError
from banana_delivery.export.archive import pickled
from banana_delivery.export.archive.pickled import names_in
from banana_delivery.export.checkpoint_scan import scan
from tests.unit.export.archives import PROTOCOL, archive, call


def text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


NESTED = call("posix", "system", "true")
CALLED = {
    # What scanners did not have on their lists: each of these runs or loads something of the caller's choice.
    "a pickle in a pickle": ("pickle", "loads"),
    "a pickle in a pickle, by its other name": ("_pickle", "loads"),
    "pip": ("pip", "main"),
    "pip inside": ("pip._internal.cli.main", "main"),
    "timeit": ("timeit", "timeit"),
    "a submodule of numpy": ("numpy.f2py.crackfortran", "getlincoef"),
    "numpy's tests": ("numpy.testing._private.utils", "runstring"),
    "numpy's loader": ("numpy", "load"),
    "a submodule of asyncio": ("asyncio.unix_events", "_UnixSubprocessTransport._start"),
    "idlelib": ("idlelib.run", "Executive.runcode"),
    "lib2to3": ("lib2to3.pgen2.grammar", "Grammar.loads"),
    "cProfile": ("cProfile", "runctx"),
    "doctest": ("doctest", "debug_script"),
    "ensurepip": ("ensurepip._bundled", "x"),
    "pdb": ("pdb", "run"),
    "bdb": ("bdb", "Bdb.run"),
    "code": ("code", "InteractiveInterpreter.runcode"),
    "profile": ("profile", "Profile.run"),
    "trace": ("trace", "Trace.run"),
    "pydoc": ("pydoc", "pipepager"),
    "pty": ("pty", "spawn"),
    "distutils": ("distutils.file_util", "write_file"),
    "ctypes": ("ctypes", "CDLL"),
    "logging": ("logging.config", "_resolve"),
    "sqlite3": ("sqlite3", "connect"),
    "http": ("http.client", "HTTPSConnection"),
    "linecache": ("linecache", "getline"),
    "import": ("importlib", "import_module"),
    "runpy": ("runpy", "run_path"),
    "operator": ("operator", "methodcaller"),
    "functools": ("functools", "partial"),
    "types": ("types", "CodeType"),
    "getattr": ("builtins", "getattr"),
    "getattr of Python 2": ("__builtin__", "getattr"),
    "apply of Python 2": ("__builtin__", "apply"),
    "copyreg": ("copyreg", "_reconstructor"),
    "copyreg of Python 2": ("copy_reg", "add_extension"),
    "torch's loader": ("torch.serialization", "load"),
    "torch's compiler": ("torch.utils.cpp_extension", "load_inline"),
    "torch's storage": ("torch.storage", "_load_from_bytes"),
    "torch's jit": ("torch.jit", "load"),
    "torch's dynamo": ("torch._dynamo.guards", "GuardBuilder.get"),
    "torch's fx": ("torch.fx.experimental.symbolic_shapes", "ShapeEnv.evaluate_guards_expression"),
    "torch's unsafe loader": ("torch._inductor.codecache", "compile_file"),
    "torch's unittest": ("torch.utils.bottleneck.__main__", "run_cprofile"),
    "ultralytics' text": ("ultralytics.nn.tasks", "parse_model"),
    "ultralytics' unpickler": ("ultralytics.nn.tasks", "SafeUnpickler"),
    "what a layer's module imports": ("ultralytics.nn.modules.block", "F"),
    "a class that a layer's module imports": ("torch.nn.modules.module", "OrderedDict"),
    "a typing class": ("torch.nn.modules.container", "Any"),
    "a name with dots": ("torch", "nn.modules.conv.Conv2d.__init__.__globals__"),
    "a module with dots in the name": ("ultralytics.nn.modules.conv", "math.sys.modules"),
}


@pytest.mark.parametrize("kind", CALLED)
def test_a_name_that_scanners_missed_is_refused(tmp_path: Path, kind: str) -> None:
    module, name = CALLED[kind]
    with pytest.raises(UnsafeModelError):
        scan(archive(tmp_path / "best.pt", call(module, name, "x")))


OTHERWISE = {
    "names from the memo": b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x940h\x00h\x01\x93\x8c\x04true\x85R.",
    "names put together by a call": b"\x80\x04\x8c\x05posix\x8c\x06systemI0\n\x93\x8c\x04true\x85R.",
    "names as long texts": b"\x80\x04" + text("posix") + text("system") + b"\x93" + text("true") + b"\x85R.",
    "names as texts of eight bytes of length": b"\x80\x04\x8d"
    + (5).to_bytes(8, "little")
    + b"posix\x8c\x06system\x93.",
    "a frame": b"\x80\x04\x95\x05\0\0\0\0\0\0\0cposix\nsystem\n.",
    "a class by its old opcode": b"(S'true'\niposix\nsystem\n.",
    "an object by its old opcode": b"(cposix\nsystem\nS'true'\no.",
    "an extension": PROTOCOL + b"\x82\x01.",
    "an object with keywords": b"\x80\x04cposix\nsystem\n)}\x92.",
    "the protocol in its middle": PROTOCOL + b"\x80\x04" + NESTED[2:],
    "the protocol twice": PROTOCOL + NESTED,
    "no protocol": NESTED[2:],
    "a protocol of the future": b"\x80\x07" + NESTED[2:],
    "a pickle behind the pickle": PROTOCOL + b"}." + NESTED,
    "an end within a pickle": PROTOCOL + b"N0." + NESTED[2:],
    "broken behind the call": NESTED[:-1] + b"\xff",
    "broken before its end": NESTED[:-1],
    "an opcode that nobody knows": PROTOCOL + b"\xfe" + NESTED[2:],
    "a text that ends nowhere": NESTED[:-1] + b"X\xff\xff\xff\xff",
    "a negative length": PROTOCOL + b"T\xff\xff\xff\xffx" + NESTED[2:],
    "a name in the memo by text": PROTOCOL + b"S'x'\np0\n" + NESTED[2:],
    "a name of another alphabet": PROTOCOL + "cposıx\nsystem\n.".encode(),
    "a blank in a name": PROTOCOL + b"cos path\nsystem\n.",
    "a line end of another system": PROTOCOL + b"cposix\r\nsystem\r\n.",
    "an empty name": PROTOCOL + b"ccollections\n\n.",
    "a persistent name by text": PROTOCOL + b"Pposix system\n.",
    "another kind of text": PROTOCOL + b"Vposix\n.",
    "a tuple of bytes": pickle.dumps(b"x", 3),
    "a set of its own opcode": b"\x80\x04\x8f.",
    "a buffer": b"\x80\x05\x97.",
}


@pytest.mark.parametrize("kind", OTHERWISE)
def test_a_pickle_of_another_form_than_torchs_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UnsafeModelError):
        names_in("best.pt", OTHERWISE[kind])
    with pytest.raises(UnsafeModelError):
        scan(archive(tmp_path / "best.pt", OTHERWISE[kind]))


def test_more_steps_than_any_detector_needs_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickled, "MAX_OPCODES", 10)
    with pytest.raises(UnsafeModelError, match="more than 10 steps"):
        names_in("best.pt", PROTOCOL + b"N" * 20 + b".")
    with pytest.raises(UnsafeModelError, match="more than 10 steps"):
        names_in("best.pt", PROTOCOL + b"]" * 20 + b".")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (("__builtin__", "set"), ("builtins", "set")),
        (("__builtin__", "xrange"), ("builtins", "range")),
        (("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor")),
        (("torch", "Size"), ("torch", "Size")),
    ],
)
def test_a_name_is_judged_as_it_is_resolved(written: tuple[str, str], meant: tuple[str, str]) -> None:
    assert names_in("best.pt", call(*written)) == {meant}
