"""The settings as a page: ``python -m tools.settings_page`` writes ``docs/settings.md``.

What a setting is for, its default and its bounds stand in ``banana_delivery.settings`` and nowhere else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from banana_delivery.settings import Settings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"
INTRODUCTION = """\
# Settings

Every setting is an environment variable; there is no configuration file. They are read once per process, so after a
change: `banana-delivery down`, then `banana-delivery up`. A value that cannot be used is refused with one sentence that
names the variable.

Lists and objects are written as JSON. Seconds may have a fraction. A secret never appears in a log or in metadata.

"""
ELSEWHERE = """
The libraries underneath keep their own variables. These matter most:

| variable | meaning |
|---|---|
| `MLFLOW_TRACKING_URI` | An MLflow server elsewhere; for credentials MLflow has variables of its own. |
| `DAGSTER_HOME` | A Dagster instance elsewhere, for the command line; `banana-delivery up` keeps its own. |
| `KUBECONFIG` | The clusters, where `BANANA_TARGET` is `kubernetes`. |
| `DOCKER_HOST` | A Docker engine elsewhere, where `BANANA_TARGET` is `kubernetes`. |

What a serving replica can be told (threads, queue, upload limit, prediction log) stands in `serving/settings.py`.

This page is written by `python -m tools.settings_page`.
"""
PLAIN_KINDS: dict[object, str] = {bool: "true or false", int: "whole number", float: "number", Path: "path"}
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def settings_page(settings: type[BaseModel] = Settings) -> str:
    """The whole page, as Markdown."""
    rows = [_row(name, field) for name, field in settings.model_fields.items()]
    table = ["| variable | default | value | meaning |", "|---|---|---|---|", *rows]
    return INTRODUCTION + "\n".join(table) + "\n" + ELSEWHERE


def _row(name: str, field: FieldInfo) -> str:
    cells = [f"`BANANA_{name.upper()}`", _default(field), _kind(field), field.description or ""]
    return f"| {' | '.join(cells)} |"


def _default(field: FieldInfo) -> str:
    """The default; in words where it depends on the machine."""
    if isinstance(field.json_schema_extra, dict):
        return str(field.json_schema_extra["default"])
    match default := field.default:
        case SecretStr():
            return ""
        case None | "":
            return ""
        case str():
            return f"`{default}`"
        case float():
            return f"`{default:g}`"
        case _:
            return f"`{json.dumps(default)}`"


def _kind(field: FieldInfo) -> str:
    """What a value must look like, with its bounds."""
    bounds = [
        f"{sign} {getattr(bound, name):g}"
        for bound in field.metadata
        for name, sign in BOUNDS.items()
        if getattr(bound, name, None) is not None
    ]
    return ", ".join([_type_in_words(field.annotation), *bounds])


def _type_in_words(annotation: object) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(annotation))
    if SecretStr in (annotation, *get_args(annotation)):
        return "secret" if annotation is SecretStr else "JSON list, secret"
    if get_origin(annotation) in (list, dict):
        return "JSON list" if get_origin(annotation) is list else "JSON object"
    plain = next((kind for kind in (annotation, *get_args(annotation)) if kind in PLAIN_KINDS), None)
    return PLAIN_KINDS[plain] if plain else "text"


if __name__ == "__main__":
    PAGE.write_text(settings_page(), encoding="utf-8")
