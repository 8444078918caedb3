"""The examples for admission controllers ask for what the pipeline really signs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from banana_delivery.delivery.signing.statements import BUILDER, PROVENANCE

EXAMPLES = Path(__file__).parents[3] / "k8s" / "components" / "signed-images"


def example(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((EXAMPLES / name).read_text())
    return document


def test_kyverno_asks_for_our_signature_and_for_provenance_by_our_builder() -> None:
    (rule,) = example("kyverno.yaml")["spec"]["rules"]
    (images,) = rule["verifyImages"]
    (attestation,) = images["attestations"]
    (condition,) = attestation["conditions"][0]["all"]

    assert set(rule["match"]["any"][0]["resources"]["namespaces"]) == {"staging", "production"}
    assert images["required"]
    assert attestation["type"] == PROVENANCE
    assert condition["value"] == BUILDER
    keys = [images["attestors"][0]["entries"][0]["keys"], attestation["attestors"][0]["entries"][0]["keys"]]
    # Nothing that the pipeline signs is in a public log, so asking for it there would let nothing start.
    assert all(one["rekor"]["ignoreTlog"] and one["ctlog"]["ignoreSCT"] for one in keys)


def test_policy_controller_asks_for_both_and_for_no_public_log() -> None:
    spec = example("policy-controller.yaml")["spec"]
    signed, built = spec["authorities"]

    assert "ctlog" not in signed
    assert "ctlog" not in built
    assert built["attestations"][0]["predicateType"] == PROVENANCE
    assert BUILDER in built["attestations"][0]["policy"]["data"]
    assert all(f'"{one["name"]}":' in spec["policy"]["data"] for one in (signed, built))
