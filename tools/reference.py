"""Reference of commands and the API: ``python -m tools.reference`` writes ``docs/commands.md`` and ``docs/api.md``.

What a command takes stands in ``banana_delivery.cli``, what a route takes in ``serving``, and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from fastapi import FastAPI
from typer.cli import get_docs_for_click

from banana_delivery.cli import app
from serving.http import predictions, status
from serving.replica import Replica
from serving.settings import Settings

DOCS = Path(__file__).resolve().parents[1] / "docs"
COMMANDS, API = DOCS / "commands.md", DOCS / "api.md"
PROGRAM = "banana-delivery"
WRITTEN = "\nThis page is written by `python -m tools.reference`.\n"
BEFORE_API = """\
# The API

What a replica answers to users, as its own `/openapi.json` has it; `/docs` of a replica tries it in a browser. A client
of one file for Python is `serving/client.py`.

"""


def commands_page() -> str:
    """Every command with its arguments, as Markdown."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name=PROGRAM, title="Commands")
    # Of itself it says `~/...` as this machine resolves it, and nothing in code is escaped.
    return re.sub(r"\n{3,}", "\n\n", text.replace(str(Path.home()), "~")).rstrip() + "\n" + WRITTEN


def api_page(described: Mapping[str, Any]) -> str:
    """Every route with what it takes and answers, as Markdown."""
    parts = [part for path, methods in described["paths"].items() for part in _route(path, methods)]
    return BEFORE_API + "\n".join(parts) + WRITTEN


def _route(path: str, methods: Mapping[str, Any]) -> Iterator[str]:
    for method, route in methods.items():
        yield f"## `{method.upper()} {path}`\n"
        yield f"{route.get('description') or route.get('summary', '')}\n"
        if rows := [_parameter(one) for one in route.get("parameters", [])]:
            yield "\n".join(["| parameter | in | value | meaning |", "|---|---|---|---|", *rows, ""])
        if bodies := sorted(route.get("requestBody", {}).get("content", {})):
            yield f"The body is one of: {', '.join(f'`{one}`' for one in bodies)}.\n"
        answers = [f"| {status} | {_line(one['description'])} |" for status, one in sorted(route["responses"].items())]
        yield "\n".join(["| status | means |", "|---|---|", *answers, ""])


def _parameter(one: Mapping[str, Any]) -> str:
    schema = one.get("schema", {})
    bounds = f"{schema['minimum']} to {schema['maximum']}" if {"minimum", "maximum"} <= schema.keys() else ""
    default = f"default {schema['default']}" if "default" in schema else ""
    value = ", ".join(filter(None, [schema.get("type", ""), bounds, default]))
    return f"| `{one['name']}` | {one['in']} | {value} | {_line(one.get('description', ''))} |"


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def described() -> dict[str, Any]:
    """The API of a replica with one port for users and one for whoever runs it, as it describes itself."""
    replica = Replica.build(Settings.model_validate({"model_path": "model.onnx", "internal_port": 9000}))
    api = FastAPI()
    for router in (predictions.router, status.router, status.users_router):
        api.include_router(router(replica))
    return api.openapi()


def main() -> None:
    """Write both pages."""
    COMMANDS.write_text(commands_page(), encoding="utf-8")
    API.write_text(api_page(described()), encoding="utf-8")


if __name__ == "__main__":
    main()
