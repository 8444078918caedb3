"""The examples for admission controllers ask for what the pipeline really signs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from banana_delivery.delivery.signing.statements import BUILDER, PROVENANCE

EXAMPLES = Path(__file__).parents[3] / "k8s" / "components" / "signed-images"


def example(name: str) -> dict[str, Any]:
    documents: list[dict[str, Any]] = list(yaml.safe_load_all((EXAMPLES / name).read_text()))
    return documents[-1]


@pytest.mark.parametrize(("name", "by"), [("kyverno.yaml", "keys"), ("kyverno-identity.yaml", "keyless")])
def test_kyverno_asks_for_our_signature_and_for_provenance_by_our_builder(name: str, by: str) -> None:
    (rule,) = example(name)["spec"]["rules"]
    (images,) = rule["verifyImages"]
    (attestation,) = images["attestations"]
    (condition,) = attestation["conditions"][0]["all"]

    assert set(rule["match"]["any"][0]["resources"]["namespaces"]) == {"staging", "production"}
    assert images["required"]
    assert attestation["type"] == PROVENANCE
    assert condition["value"] == BUILDER
    keys = [images["attestors"][0]["entries"][0][by], attestation["attestors"][0]["entries"][0][by]]
    # Nothing that the pipeline signs is in a public log, so asking for it there would let nothing start.
    assert all(one["rekor"]["ignoreTlog"] and one["ctlog"]["ignoreSCT"] for one in keys)


@pytest.mark.parametrize("name", ["policy-controller.yaml", "policy-controller-identity.yaml"])
def test_policy_controller_asks_for_both_and_for_no_public_log(name: str) -> None:
    spec = example(name)["spec"]
    signed, built = spec["authorities"]

    assert "ctlog" not in signed
    assert "ctlog" not in built
    assert built["attestations"][0]["predicateType"] == PROVENANCE
    assert BUILDER in built["attestations"][0]["policy"]["data"]
    assert all(f'"{one["name"]}":' in spec["policy"]["data"] for one in (signed, built))


def test_an_identity_is_named_whole_and_its_time_is_proven() -> None:
    """A pattern, or a certificate without a timestamp, would let others in, or nobody after ten minutes."""
    kyverno = example("kyverno-identity.yaml")["spec"]["rules"][0]["verifyImages"][0]["attestors"][0]["entries"][0]
    controller = example("policy-controller-identity.yaml")["spec"]["authorities"]

    assert kyverno["keyless"]["ctlog"]["tsaCertChain"]
    named = [kyverno["keyless"], *(one for authority in controller for one in authority["keyless"]["identities"])]
    assert len({(one["subject"], one["issuer"]) for one in named}) == 1
    assert all(one["rfc3161timestamp"]["trustRootRef"] == "banana-authorities" for one in controller)
