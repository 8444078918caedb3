"""Release records to Dagster metadata and back.

Every record is written twice: as single values that Dagster plots and people read, and whole, as JSON under
``RECORD_KEY``, which is what the pipeline reads back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

import dagster as dg

from banana_delivery.errors import redacted
from banana_delivery.policy.model import ImageRef, StoredRecord
from banana_delivery.runs.evidence.keys import EvidenceKeys
from banana_delivery.runs.evidence.signing import SIGNATURE_KEY, Origin, sign

RECORD_KEY = "record"
MOMENTS = frozenset({"at", "until"})
"""Fields that are seconds since the epoch."""
_RUN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""What Dagster calls a run; a person's doing, or a run that never began, has another name."""

Record = TypeVar("Record", bound=StoredRecord)
Metadata = dict[str, dg.MetadataValue]


def to_metadata(record: StoredRecord, **pictures: dg.MetadataValue) -> Metadata:
    """A record's fields as typed metadata, its whole JSON, and whatever pictures and tables go with it; no secrets."""
    record = type(record).model_validate(_without_secrets(record.model_dump()))
    names = type(record).model_fields.keys() - StoredRecord.model_fields.keys()
    fields = {name: _shown(name, getattr(record, name)) for name in type(record).model_fields if name in names}
    shown = {name: value for name, value in fields.items() if value is not None}
    return {**shown, **pictures, RECORD_KEY: dg.MetadataValue.json(record.model_dump(mode="json"))}


def signed_metadata(record: StoredRecord, origin: Origin, keys: EvidenceKeys, **pictures: dg.MetadataValue) -> Metadata:
    """The same with a signature of the whole JSON, which alone is ever believed; the single values are for people.

    Raises:
        EvidenceError: if there is no key to sign with.
    """
    metadata = to_metadata(record, **pictures)
    signature = sign(metadata[RECORD_KEY].value, origin, keys)
    return {**metadata, SIGNATURE_KEY: dg.MetadataValue.json(signature)}


def from_metadata(kind: type[Record], metadata: Mapping[str, dg.MetadataValue]) -> Record:
    """The record that ``to_metadata`` wrote.

    Raises:
        ValueError: if the metadata holds no such record.
    """
    value = metadata.get(RECORD_KEY)
    if value is None:
        raise ValueError(f"The metadata holds no {kind.__name__}: the key {RECORD_KEY!r} is missing.")
    return kind.read(value.value)


def _without_secrets(value: Any) -> Any:
    """The same, whoever wrote the words in it: people read it, and it is kept."""
    match value:
        case StrEnum():
            return value
        case str():
            return redacted(value)
        case Mapping():
            return {key: _without_secrets(one) for key, one in value.items()}
        case list() | tuple():
            return type(value)(map(_without_secrets, value))
        case _:
            return value


def as_metadata(numbers: Mapping[str, float | int | None]) -> Metadata:
    """Numbers as Dagster draws them; those that are not known are left out."""
    shown = {name: _typed(value) for name, value in numbers.items()}
    return {name: value for name, value in shown.items() if value is not None}


def _shown(name: str, value: object) -> dg.MetadataValue | None:
    """A field as what it is: a moment, a run, or as ``_typed`` has it."""
    if name in MOMENTS and isinstance(value, float):
        return dg.MetadataValue.timestamp(value)
    if name == "run_id" and isinstance(value, str) and _RUN.fullmatch(value):
        return dg.MetadataValue.dagster_run(value)
    return _typed(value)


def _typed(value: object) -> dg.MetadataValue | None:
    """The field as a single metadata value; None for what only makes sense inside the whole record."""
    match value:
        case bool():
            return dg.MetadataValue.bool(value)
        case int():
            return dg.MetadataValue.int(value)
        case float():
            return dg.MetadataValue.float(round(value, 3))
        case str():
            return dg.MetadataValue.text(str(value))
        case ImageRef():
            return dg.MetadataValue.text(value.digest)
        case tuple() if value and all(isinstance(item, str) for item in value):
            return dg.MetadataValue.text(", ".join(value))
        case _:
            return None
