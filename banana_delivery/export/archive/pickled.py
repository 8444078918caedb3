"""The one form of pickle that a checkpoint may hold: what ``torch.save`` writes, by protocol 2.

Only opcodes that torch's own restricted unpickler knows are let through. Their names of things stand in the pickle as
they are (``GLOBAL``); a name that is put together on the stack, copied from the memo or taken from a registry of
extensions needs an opcode that is refused here, so there is nothing to follow and nothing to be misled by.
"""

from __future__ import annotations

import io
import pickletools
import re
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

from banana_delivery.errors import UnsafeModelError

MAX_OPCODES = 1_000_000
"""The largest published detectors need about 300,000."""
PROTOCOL = 2
_MARKS = "PROTO STOP GLOBAL REDUCE BUILD NEWOBJ MARK BINPERSID BINGET LONG_BINGET BINPUT LONG_BINPUT"
_VALUES = "NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINSTRING"
_GROUPS = "EMPTY_TUPLE EMPTY_LIST EMPTY_DICT TUPLE TUPLE1 TUPLE2 TUPLE3 APPEND APPENDS SETITEM SETITEMS"
OPCODES = frozenset(f"{_MARKS} {_VALUES} {_GROUPS}".split())
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)

Name = tuple[str, str]
"""A module and a name in it."""


def names_in(name: str, content: bytes) -> frozenset[Name]:
    """Every module and name that a pickle asks for, as Python and torch resolve them.

    Args:
        name: how messages call the file.
        content: the pickle.

    Raises:
        UnsafeModelError: if it is not of the form that torch writes.
    """
    stream = io.BytesIO(content)
    found, count, last = set(), 0, ""
    try:
        for opcode, argument, position in pickletools.genops(stream):
            count += 1
            last = opcode.name
            if count > MAX_OPCODES:
                raise _refused(name, f"it has more than {MAX_OPCODES:,} steps")
            if last not in OPCODES:
                raise _refused(name, f"its opcode {last} is none that torch.save writes")
            if (last == "PROTO") != (position == 0) or (last == "PROTO" and argument != PROTOCOL):
                raise _refused(name, f"it is not of protocol {PROTOCOL} from its first byte on")
            if last == "GLOBAL":
                found.add(_resolved(name, str(argument)))
    except (ValueError, OverflowError) as error:
        raise _refused(name, str(error)[:200]) from None
    if last != "STOP" or stream.tell() != len(content):
        raise _refused(name, "it goes on after its end")
    return frozenset(found)


def _resolved(file: str, written: str) -> Name:
    """The name that is meant: pickles of protocol 2 call some things by their names in Python 2."""
    module, _, name = written.partition(" ")
    if not (_DOTTED.fullmatch(module) and _DOTTED.fullmatch(name)):
        raise _refused(file, f"{written[:100]!r} is no module and name")
    if (module, name) in NAME_MAPPING:
        return NAME_MAPPING[module, name]
    return IMPORT_MAPPING.get(module, module), name


def _refused(name: str, why: str) -> UnsafeModelError:
    return UnsafeModelError(f"The pickle in {name} cannot be followed ({why}), so it was not loaded: do not use it.")
