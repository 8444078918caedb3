"""What is said of policy files: ``python -m tools.policy_schema`` writes their JSON schema and its page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from banana_delivery.policies.document import SCHEMA_ID, resolved, schema
from banana_delivery.policies.reading import HERE, NAMED, allowed
from banana_delivery.policies.source import Place

FILE = HERE / SCHEMA_ID
PAGE = Path(__file__).resolve().parents[1] / "docs" / "release-policy.md"
INTRODUCTION = Path(__file__).with_name("policy_page.md")


def schema_text() -> str:
    """The whole schema, as it is published."""
    return json.dumps(schema(), indent=2) + "\n"


def policy_page() -> str:
    """The whole page, as Markdown."""
    rows = [f"| `{name}` | {default} | {words} | {said} |" for name, default, words, said in _keys(schema(), ())]
    table = ["| key | in `standard` | allowed | meaning |", "|---|---|---|---|", *rows]
    return INTRODUCTION.read_text(encoding="utf-8").replace("<!-- keys -->", "\n".join(table))


def _keys(part: Mapping[str, Any], place: Place) -> Iterator[tuple[str, str, str, str]]:
    """Every key below a place: how it is written, its default, what is allowed, what it is for."""
    for name, one in part.get("properties", {}).items():
        at, inner = (*place, name), resolved(one, schema())
        items = resolved(inner["items"], schema()) if inner.get("type") == "array" else {}
        if "properties" in inner:
            yield from _keys(inner, at)
            continue
        yield _spelt(at), _default(at), allowed(at).replace("|", "\\|"), one.get("description", "")
        yield from _keys(items, (*at, 0))


def _spelt(place: Place) -> str:
    """As people write it; of a list, any item."""
    return "".join("[]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


def _default(place: Place) -> str:
    said: Any = yaml.safe_load(NAMED["standard"].text)
    for name in place:
        said = said.get(name) if isinstance(said, dict) else None
    return "" if said is None else f"`{json.dumps(said)}`"


if __name__ == "__main__":
    FILE.write_text(schema_text(), encoding="utf-8")
    PAGE.write_text(policy_page(), encoding="utf-8")
