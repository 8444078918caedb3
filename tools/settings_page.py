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

Every setting is an environment variable. They are read once per process, so after a change: `banana-delivery down`,
then `banana-delivery up`. A value that cannot be used is refused with one sentence that names the variable.

Lists and objects are written as JSON. Seconds may have a fraction. A secret never appears in a log or in metadata.

## The file of a home

So that they need not be the same in every shell, `banana-delivery up` writes those that it was started with into
`settings.env` in `BANANA_HOME`, and every command of that home reads them there. A variable wins, also an empty one,
which stands for the default; `banana-delivery settings` shows where each value is from. It is `NAME='value'`, one a
line, as a shell reads it, and may be written by hand; what `up` does not change in it stays as it was.
`MLFLOW_TRACKING_URI`, `MLFLOW_REGISTRY_URI`, `KUBECONFIG` and `DOCKER_HOST` stand there too, since a command without
them would ask somebody else than the stack does. `BANANA_HOME` cannot: it says where the file is.

`up` never writes a secret, nor an address with a password in it; it names those that it left out. In another shell
these are needed as variables, or in the file by your own hand, which only you may read (`chmod 600`):

| secret | without it, in another shell |
|---|---|
| `BANANA_NOTIFY_URLS` | nobody is told of a rollback that is typed there; `notify-test` has nobody to try |
| `BANANA_REGISTRY_PASSWORD` | the registry refuses `rebuild`, `prune` and `doctor`, where docker login left nothing |
| `BANANA_SERVING_DATABASE_URL` | replicas that a command starts, as a rollback may, keep no common log of predictions |
| `BANANA_PAGES_TOKEN` | `deliver`, `redeploy` and `approve` are refused where the pages want a login |
| `BANANA_COSIGN_PASSWORD`, `BANANA_METRIC_TOKENS`, `BANANA_WEBHOOK_SECRET` | nothing: deliveries alone need them |

Only the command line reads the file. The stack's processes get each the variables that it needs from `up`, and
whatever else runs the pipeline, such as a cluster or [a Dagster of yours](existing-dagster.md), is told by variables
alone.

## A second stack on one machine

    BANANA_HOME=~/second BANANA_PORT_OFFSET=100 banana-delivery up
    BANANA_HOME=~/second banana-delivery status

The offset moves every port that no variable sets. Nothing else is shared: records, locks, sockets, databases and
Dagster's instance belong to the home.
## All of them

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
    own = settings.__annotations__  # What it inherits comes last.
    ordered = sorted(settings.model_fields.items(), key=lambda one: one[0] not in own)
    rows = [_row(name, field) for name, field in ordered]
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
