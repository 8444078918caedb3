"""Variables that are named like our settings and are none."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches

from banana_delivery.setting_errors import PREFIX
from banana_delivery.settings import Settings


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that is named like ours and is none: somebody set it, and nothing reads it."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    strange = sorted(name for name in environment if name.upper().startswith(PREFIX) and name.upper() not in known)
    return [f"{name} is no setting, so that it changes nothing{_meant(name, known)}" for name in strange]


def _meant(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name.upper(), known, n=1)
    return f"; do you mean {near[0]}?" if near else "; docs/settings.md lists those that are."
