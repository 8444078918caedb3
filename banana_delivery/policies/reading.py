"""From a policy file to a policy, or to one sentence that says what is wrong, where, and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from banana_delivery.errors import BadSettingsError
from banana_delivery.policies.document import LATENCY_BUDGETS, ReleasePolicy, resolved, schema
from banana_delivery.policies.source import Place, Source, parse
from banana_delivery.policy.rollout.plan import Plan
from banana_delivery.quoting import cited
from banana_delivery.settings import POLICY_NAMES

HERE = Path(__file__).resolve().parent
LARGEST_BYTES = 64 * 1024
"""A calendar of ten years has less."""


@dataclass(frozen=True)
class PolicyFile:
    """The policy that settings name, read once: a delivery goes by the same rules to its end.

    Attributes:
        source: one of the product's own by name, or a path.
    """

    source: str

    @cached_property
    def policy(self) -> ReleasePolicy:
        """What it says.

        Raises:
            BadSettingsError: if it cannot be read, in one sentence.
        """
        return load_policy(self.source)

    @property
    def plan_in_any_case(self) -> Plan:
        """Its plan, or the standard one where it cannot be read: what serves is watched, whatever a file says."""
        try:
            return self.policy.plan
        except BadSettingsError:
            return NAMED["standard"].plan


def load_policy(source: str) -> ReleasePolicy:
    """The policy of a name or a path.

    Raises:
        BadSettingsError: if there is none, or it says something that cannot be used.
    """
    if source in NAMED:
        return NAMED[source]
    path = Path(source)
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise BadSettingsError(_no_such_policy(source, error)) from None
    if len(data) > LARGEST_BYTES:
        raise BadSettingsError(f"{cited(source)} is larger than {LARGEST_BYTES // 1024} KiB, so it is no policy file.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadSettingsError(f"{cited(source)} is no policy file: no UTF-8 at byte {error.start}.") from None
    return read_policy(text, source, default_name=path.stem)


def read_policy(text: str, where: str, default_name: str) -> ReleasePolicy:
    """The policy that a text describes; what it leaves out is as in ``standard``.

    Args:
        text: YAML, so JSON will do.
        where: the file, for sentences.
        default_name: what the policy is called if the text does not say it.

    Raises:
        BadSettingsError: if it cannot be used.
    """
    source = parse(text, where)
    _refuse_unknown(source, source.said, schema(), ())
    said = {"name": default_name, **source.said}
    if said["name"] in POLICY_NAMES:
        raise source.mistake(
            ("name",),
            f"is {said['name']}, a policy of the product; give yours a name of its own, such as bananas",
        )
    return _validated(source, _completed(said))


def _completed(said: Mapping[str, Any]) -> dict[str, Any]:
    """With what ``standard`` says of everything that is left out."""
    standard = _packaged_text("standard").said
    sections = {
        name: {**known, **said.get(name, {})} if isinstance(known, Mapping) else said.get(name, known)
        for name, known in standard.items()
    }
    return {**sections, **{name: value for name, value in said.items() if name not in sections}}


def _validated(source: Source, said: dict[str, Any]) -> ReleasePolicy:
    plan = {**said.get("plan", {}), "name": said["name"]}
    try:
        policy = ReleasePolicy.model_validate({**said, "plan": plan})
    except ValidationError as error:
        first = error.errors()[0]
    else:
        _refuse_budget(source, policy)
        return policy
    where = tuple(first["loc"])
    if first["type"] in {"value_error", "assertion_error"}:
        raise source.mistake(where, str(first["ctx"]["error"]).rstrip("."), whole=True)
    if first["type"] == "missing":
        raise source.mistake(where, f"is missing; allowed is {allowed(where)}")
    raise source.mistake(where, f"is {cited(str(first['input']))}; allowed is {allowed(where)}")


def _refuse_budget(source: Source, policy: ReleasePolicy) -> None:
    where, budget = ("plan", "latency_budget_seconds"), policy.plan.latency_budget_seconds
    if budget not in LATENCY_BUDGETS:
        raise source.mistake(where, f"is {budget:g}; allowed is {allowed(where)}")


def _refuse_unknown(source: Source, said: Any, part: Mapping[str, Any], place: Place) -> None:
    """Every key is one of the schema, and every section is one."""
    part = resolved(part, schema())
    if "properties" in part:
        if not isinstance(said, Mapping):
            raise source.mistake(place, f"is no section; allowed in it are {', '.join(part['properties'])}")
        for name, value in said.items():
            if name not in part["properties"]:
                raise source.mistake((*place, name), f"is no key of a policy; {_instead(name, part['properties'])}")
            _refuse_unknown(source, value, part["properties"][name], (*place, name))
    elif part.get("type") == "array":
        if not isinstance(said, list):
            raise source.mistake(place, f"is no list; allowed is {_in_words(part)}")
        for number, item in enumerate(said):
            _refuse_unknown(source, item, part["items"], (*place, number))
    elif isinstance(said, Mapping | list):
        raise source.mistake(place, f"is a section of its own; allowed is {_in_words(part)}")


def allowed(place: Place) -> str:
    """What a key may have as its value, in words."""
    whole = schema()
    part: Mapping[str, Any] = whole
    for name in place:
        part = resolved(part, whole)
        part = part.get("properties", {}).get(name) or part.get("items") or part
    return _in_words(resolved(part, whole))


def _in_words(part: Mapping[str, Any]) -> str:
    if "enum" in part:
        return " or ".join(map(str, part["enum"]))
    if part.get("type") == "array":
        return f"a list of which each is {_in_words(resolved(part['items'], schema()))}"
    kinds = {"integer": "a whole number", "number": "a number", "string": "text", "boolean": "true or false"}
    signs = {"exclusiveMinimum": "above", "minimum": "at least", "exclusiveMaximum": "below", "maximum": "at most"}
    bounds = [f"{word} {part[sign]:,.12g}" for sign, word in signs.items() if sign in part]
    pattern = [f"that matches {part['pattern']}"] if "pattern" in part else []
    length = [f"of at most {part['maxLength']:,} characters"] if "maxLength" in part else []
    kind = kinds.get(part.get("type", ""), "a section")
    such = f", such as {' or '.join(part['examples'])}" if "examples" in part else ""
    return f"{' '.join([kind, *length, ' and '.join([*bounds, *pattern])]).rstrip()}{such}"


def _instead(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    return f"did you mean {near[0]}?" if near else f"allowed here are {', '.join(known)}"


def _no_such_policy(source: str, error: OSError) -> str:
    name = Path(source).name
    near = difflib.get_close_matches(name, POLICY_NAMES, n=1, cutoff=0.7)
    meant = f"; did you mean {near[0]}?" if near else f", nor is it one of {', '.join(POLICY_NAMES)}"
    return f"The release policy {cited(source)} cannot be read ({error.strerror or error}){meant}"


@cache
def _packaged_text(name: str) -> Source:
    file = HERE / f"{name}.yaml"
    return parse(file.read_text(encoding="utf-8"), file.name)


def _packaged(name: str) -> ReleasePolicy:
    source = _packaged_text(name)
    _refuse_unknown(source, source.said, schema(), ())
    return _validated(source, _completed({"name": name, **source.said}))


NAMED: dict[str, ReleasePolicy] = {name: _packaged(name) for name in POLICY_NAMES}
"""The policies that come with the product, by name."""

PLANS: Mapping[str, Plan] = MappingProxyType({name: policy.plan for name, policy in NAMED.items()})
"""Their plans. ``demo`` has the same rules and takes the same risks as ``standard`` with shorter ceilings."""
