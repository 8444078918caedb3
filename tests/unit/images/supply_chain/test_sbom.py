"""The bill of materials, held to the schema that CycloneDX's own library brings."""

from __future__ import annotations

import json
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from banana_delivery.images.supply_chain.installed import Installed, Package, asked_for, debian_packages
from banana_delivery.images.supply_chain.sbom import sbom
from banana_delivery.policy.model import ImageRef

REF = ImageRef(repository="registry.test:5000/team/banana", digest="sha256:" + "a" * 64, version="7", key="k" * 64)
LABELS = {
    "banana.model.sha256": "b" * 64,
    "banana.checkpoint_sha256": "c" * 64,
    "banana.code.sha256": "d" * 64,
    "banana.runtime": "registry.test:5000/team/banana-runtime@sha256:" + "e" * 64,
    "banana.base": "python@sha256:" + "f" * 64 + " with 0123",
}
WHOLE = Installed(
    brought=True,
    python="3.11.9",
    packages=(Package(name="numpy", version="2.0.0"),),
    system=debian_packages("Package: libssl3\nSource: openssl\nVersion: 3.0.11-1~deb12u2\nArchitecture: amd64\n"),
    distribution="debian",
    release="12",
)


def written(ref: ImageRef = REF, labels: dict[str, str] = LABELS, installed: Installed = WHOLE) -> dict[str, Any]:
    part = sbom(ref, labels, installed, "detector")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(part.content.decode()) is None
    document: dict[str, Any] = json.loads(part.content)
    return document


def components(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in document["components"]}


def test_a_bill_names_the_model_the_code_the_bases_python_and_every_package_of_both_kinds() -> None:
    document = written()
    found = components(document)

    assert document["metadata"]["component"]["version"] == REF.digest
    assert found["detector"]["type"] == "machine-learning-model"
    assert found["detector"]["hashes"] == [{"alg": "SHA-256", "content": "b" * 64}]
    assert {"name": "banana.checkpoint_sha256", "value": "c" * 64} in found["detector"]["properties"]
    assert found["numpy"]["purl"] == "pkg:pypi/numpy@2.0.0"
    assert found["libssl3"]["purl"].startswith("pkg:deb/debian/libssl3@3.0.11-1~deb12u2?")
    assert "upstream=openssl" in found["libssl3"]["purl"]
    assert {"python", "banana-delivery/serving", "registry.test:5000/team/banana-runtime"} <= found.keys()


def test_of_an_image_for_several_platforms_it_says_whose_packages_those_are() -> None:
    said = written(installed=WHOLE.replace(platform="linux/amd64"))["metadata"]["component"]

    assert said == {
        **written()["metadata"]["component"],
        "properties": [{"name": "banana:platform", "value": "linux/amd64"}],
    }


def test_a_base_is_known_by_its_digest_without_what_was_done_on_it() -> None:
    assert components(written())["python"]["version"] in {"3.11.9", "sha256:" + "f" * 64}
    assert [one["version"] for one in written()["components"] if one["type"] == "container"] == [
        "sha256:" + "e" * 64,
        "sha256:" + "f" * 64,
    ]


def test_packages_that_the_host_brings_say_so() -> None:
    document = written(installed=asked_for("numpy==2.0.0\n"))

    assert components(document)["numpy"]["properties"] == [{"name": "banana:brought-by", "value": "host"}]


def test_where_a_folder_of_images_lies_is_nobodys_business() -> None:
    document = written(REF.replace(repository="/home/jane/.banana/images"))

    assert "jane" not in json.dumps(document)
    assert document["metadata"]["component"]["name"] == "images"


def test_an_image_of_an_earlier_version_without_labels_has_a_bill_too() -> None:
    assert components(written(labels={}))["detector"]["version"] == "7"


def test_equal_images_get_equal_bills_and_others_another_number() -> None:
    other = REF.replace(digest="sha256:" + "0" * 64)

    assert sbom(REF, LABELS, WHOLE, "detector") == sbom(REF, LABELS, WHOLE, "detector")
    assert written()["serialNumber"] != written(other)["serialNumber"]
