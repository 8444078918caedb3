"""What is wrong with a variable, in one sentence that does not repeat what may be secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import get_args, get_origin

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from banana_delivery.errors import BadSettingsError

PREFIX = "BANANA_"
"""Of every variable."""


def unusable(error: ValidationError, fields: Mapping[str, FieldInfo]) -> BadSettingsError:
    """A variable has a value that the setting does not take."""
    first = error.errors()[0]
    field = str(first["loc"][0]).lower().removeprefix(PREFIX.lower())
    was = "what it is stays secret" if is_secret(fields[field]) else f"it is {first['input']!r}"
    return BadSettingsError(f"{PREFIX}{field.upper()} cannot be used: {first['msg']} ({was}).")


def no_json(said: str, fields: Mapping[str, FieldInfo]) -> BadSettingsError:
    """A variable has to be JSON and is not."""
    found = re.search(r'field "(\w+)"', said)
    name = found[1].lower() if found else ""
    if name not in fields:
        return BadSettingsError(f"A {PREFIX}* variable that must be JSON is not: {said}.")
    named = get_origin(fields[name].annotation) is dict
    return BadSettingsError(
        f"{PREFIX}{name.upper()} must be JSON and is not; write it as "
        f"""{'{"name": "value"}' if named else '["first", "second"]'}, in single quotes where a shell reads it."""
    )


def is_secret(field: FieldInfo) -> bool:
    """Whether a field is a secret or a list of them; what was typed there is one even where it cannot be used."""
    return SecretStr in (field.annotation, *get_args(field.annotation))
