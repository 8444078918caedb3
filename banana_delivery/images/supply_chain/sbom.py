"""What an image is made of, as a software bill of materials in CycloneDX's JSON form.

Written by hand: the library of that name knows no model cards and takes longer to load than all of this to write. Its
schema is what the tests hold it to.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from packageurl import PackageURL

from banana_delivery.images.supply_chain.attachments import SBOM_TYPE, Attachment, canonical
from banana_delivery.images.supply_chain.installed import Installed, SystemPackage
from banana_delivery.names import (
    BASE_LABEL,
    CHECKPOINT_SHA256_LABEL,
    CODE_SHA256_LABEL,
    MLFLOW_RUN_LABEL,
    MODEL_SHA256_LABEL,
    RUNTIME_LABEL,
)
from banana_delivery.policy.model import ImageRef

PRODUCT = "banana-delivery"
Component = dict[str, Any]


def sbom(ref: ImageRef, labels: Mapping[str, str], installed: Installed, model: str) -> Attachment:
    """The bill of materials of an image; equal images get equal ones.

    Args:
        ref: the image.
        labels: its own.
        installed: what it runs with.
        model: name of the registered model.
    """
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, ref.digest)}",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": PRODUCT, "version": product_version()}]},
            "component": _image(ref, installed.platform),
        },
        "components": [
            _model(ref, labels, model),
            _code(ref, labels),
            *_bases(labels),
            *_interpreter(installed),
            *_python(installed),
            *(_system(one, installed) for one in installed.system),
        ],
    }
    return Attachment(canonical(document), SBOM_TYPE)


def product_version() -> str:
    """The version of this product; ``0`` where it was not installed as a package."""
    try:
        return version(PRODUCT)
    except PackageNotFoundError:
        return "0"


def image_name(ref: ImageRef) -> str:
    """The last part of the repository: of a folder of images, where it lies is nobody's business."""
    return ref.repository.rstrip("/").rsplit("/", 1)[-1]


def image_purl(ref: ImageRef) -> str:
    """The package URL of an image; where it is kept is named for a registry only."""
    where = {} if ref.repository.startswith("/") else {"repository_url": ref.repository}
    return PackageURL("oci", None, image_name(ref).lower(), ref.digest, where).to_string()


def _image(ref: ImageRef, platform: str) -> Component:
    purl = image_purl(ref)
    seen = {"properties": [{"name": "banana:platform", "value": platform}]} if platform else {}
    return {"type": "container", "bom-ref": purl, "name": image_name(ref), "version": ref.digest, "purl": purl, **seen}


def _model(ref: ImageRef, labels: Mapping[str, str], name: str) -> Component:
    digest = labels.get(MODEL_SHA256_LABEL, "")
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{digest}",
        "name": name,
        "version": ref.version,
        **({"hashes": [{"alg": "SHA-256", "content": digest}]} if len(digest) == 64 else {}),
        "modelCard": {"modelParameters": {"task": "object-detection"}},
        "properties": _properties(labels, CHECKPOINT_SHA256_LABEL, MLFLOW_RUN_LABEL),
    }


def _code(ref: ImageRef, labels: Mapping[str, str]) -> Component:
    digest = labels.get(CODE_SHA256_LABEL, "")
    return {
        "type": "application",
        "bom-ref": f"code:{digest}",
        "name": f"{PRODUCT}/serving",
        "version": digest[:12] or ref.key[:12],
        "properties": _properties(labels, CODE_SHA256_LABEL),
    }


def _bases(labels: Mapping[str, str]) -> Iterator[Component]:
    for label in (RUNTIME_LABEL, BASE_LABEL):
        # The Dockerfile's hash counts as part of the base's name.
        name, at, digest = labels.get(label, "").partition(" ")[0].partition("@")
        if at:
            purl = PackageURL(
                "oci", None, name.rsplit("/", 1)[-1].lower(), digest, {"repository_url": name}
            ).to_string()
            yield {"type": "container", "bom-ref": purl, "name": name, "version": digest, "purl": purl}


def _interpreter(installed: Installed) -> Iterator[Component]:
    if installed.python:
        purl = PackageURL("generic", None, "python", installed.python).to_string()
        yield {"type": "platform", "bom-ref": purl, "name": "python", "version": installed.python, "purl": purl}


def _python(installed: Installed) -> Iterator[Component]:
    brought = {} if installed.brought else {"properties": [{"name": "banana:brought-by", "value": "host"}]}
    for one in installed.packages:
        purl = PackageURL("pypi", None, one.name, one.version).to_string()
        yield {
            "type": "library",
            "bom-ref": purl,
            "name": one.name,
            "version": one.version,
            "purl": purl,
            **brought,
        }


def _system(one: SystemPackage, installed: Installed) -> Component:
    distro = f"{installed.distribution}-{installed.release}"
    said = {"arch": one.architecture, "distro": distro, "upstream": f"{one.source}@{one.source_version}"}
    purl = PackageURL("deb", installed.distribution or "debian", one.name, one.version, said).to_string()
    return {"type": "library", "bom-ref": purl, "name": one.name, "version": one.version, "purl": purl}


def _properties(labels: Mapping[str, str], *names: str) -> list[dict[str, str]]:
    return [{"name": name, "value": labels[name]} for name in names if labels.get(name)]
