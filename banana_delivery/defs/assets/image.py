"""``image``: model and serving code as an image, pinned by its digest."""

import time

import dagster as dg

from banana_delivery.defs.assets._run import GROUP, OWNERS, attempting, redeploying
from banana_delivery.defs.resources import Services
from banana_delivery.delivery.image_build import SERVING_LOCK, build_context, git_revision, in_use
from banana_delivery.delivery.record_attempt import Attempting
from banana_delivery.errors import ImageError, TargetError
from banana_delivery.images.base import BuiltImage
from banana_delivery.images.scanning import scan
from banana_delivery.policy.asset_records import ImageRecord
from banana_delivery.policy.model import ImageRef
from banana_delivery.runs.partitions import MODEL_VERSIONS
from banana_delivery.runs.records import to_metadata
from banana_delivery.settings import PROJECT_ROOT


@dg.asset(
    partitions_def=MODEL_VERSIONS,
    deps=["model_artifact"],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"docker"},
    description="Model and serving code as an image: found if it exists exactly so, built if not, pinned by digest.",
)
def image(context: dg.AssetExecutionContext, services: dg.ResourceParam[Services]) -> dg.MaterializeResult[None]:
    """Find or build the image, tag it, test it, and make room; a redeploy takes its original digest."""
    here = attempting(context, services)
    with here.recorded():
        record = (_original(here, services) if redeploying(here) else None) or _made(here, services)
    return dg.MaterializeResult(metadata=to_metadata(record), data_version=dg.DataVersion(record.ref.digest))


def _original(here: Attempting, services: Services) -> ImageRecord | None:
    """The record of the digest that was released before.

    Raises:
        ImageError: if the store has it no more, and it may not be built again or would not come out the same.
    """
    earlier = here.history.latest(ImageRecord, "image", here.version)
    if earlier is None:
        return None
    if services.images.resolve(earlier.ref.digest) is None:
        return _rebuilt(here, services, earlier.ref)
    here.context.log.info(f"Redeploy: taking the original image {earlier.ref.digest}")
    return earlier.replace(
        reused=True, new_bytes=0, layers_new=(), layers_reused=earlier.layers_new + earlier.layers_reused, seconds=0.0
    )


def _rebuilt(here: Attempting, services: Services, original: ImageRef) -> ImageRecord:
    """The original made again, if what went into it is still the same: the same inputs give the same layers."""
    if not services.settings.rebuild_missing:
        raise ImageError(
            f"The original image {original.digest[:19]} of version {here.version} is gone from {original.repository}; "
            "restore it there, or set BANANA_REBUILD_MISSING=true to have the same built again."
        )
    if services.images.key(build_context(here.history, here.version)).sha256 != original.key:
        raise ImageError(
            f"The original image {original.digest[:19]} of version {here.version} is gone and cannot be built again: "
            "its serving code, lock or base was another; publish the model as a new version to deliver it with today's."
        )
    return _made(here, services)


def _made(here: Attempting, services: Services) -> ImageRecord:
    start = time.monotonic()
    context = build_context(here.history, here.version)
    existing = services.images.find(services.images.key(context))
    built = _found(existing, here) if existing else services.images.build(context, here.context.log.info)
    services.images.tag(built.ref, {here.version, "latest", *_revision_tag()})
    passed, detail = _self_test(services, built.ref)
    audit, audit_detail = _audit(services)
    pruned, prune_trouble = _make_room(here, services, built.ref)
    return ImageRecord(
        ref=built.ref,
        size_bytes=built.size_bytes,
        new_bytes=built.new_bytes,
        layers_new=built.layers_new,
        layers_reused=built.layers_reused,
        tags=tuple(sorted(services.images.tags(built.ref))),
        self_test_passed=passed,
        self_test_detail=detail,
        pickles=services.images.pickles_inside(built.ref),
        audit=audit,
        audit_detail=audit_detail,
        lock_difference=services.images.lock_difference(built.ref, SERVING_LOCK),
        reused=existing is not None,
        pruned=pruned,
        prune_trouble=prune_trouble,
        seconds=time.monotonic() - start,
    )


def _found(ref: ImageRef, here: Attempting) -> BuiltImage:
    """Nothing new was written; how large it is was recorded when it was built, unless that was elsewhere."""
    earlier = here.history.latest(ImageRecord, "image", here.version)
    size = earlier.size_bytes if earlier and earlier.ref.digest == ref.digest else 0
    layers = ("code", "model", "version")
    return BuiltImage(ref=ref, size_bytes=size, new_bytes=0, layers_new=(), layers_reused=layers, seconds=0.0)


def _revision_tag() -> set[str]:
    revision = git_revision(PROJECT_ROOT)
    return {f"sha-{revision}"} if revision else set()


def _make_room(here: Attempting, services: Services, ref: ImageRef) -> tuple[tuple[str, ...], str]:
    """The digests of old images that were removed, or why none could be, which never stops a delivery."""
    try:
        decisions = services.images.prune(
            services.settings.keep_versions, lambda: in_use(here.context.instance, services, ref), dry_run=False
        )
    except (ImageError, TargetError) as error:
        here.context.log.warning(f"Old images were not removed: {error}")
        return (), str(error)
    return tuple(decision.ref.digest for decision in decisions if not decision.keep), ""


def _audit(services: Services) -> tuple[str, str]:
    """Only images that bring their packages along are scanned; the embedded ones run on this host's."""
    if services.settings.target == "local":
        return "", ""
    found = scan(SERVING_LOCK, osv_url=services.settings.osv_url, accepted=services.settings.accepted_vulnerabilities)
    return found.audit.value, found.sentence


def _self_test(services: Services, ref: ImageRef) -> tuple[bool, str]:
    try:
        return True, str(services.images.self_test(ref))
    except ImageError as error:
        return False, str(error)
