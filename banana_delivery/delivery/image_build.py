"""A version's image: found if it exists exactly so, built if not; what retention may not take away meanwhile."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from banana_delivery import bundle
from banana_delivery.delivery.signing.foundations import moved_base, vouched_runtime
from banana_delivery.delivery.signing.images import ImageSigner, refuse_unsigned
from banana_delivery.delivery.signing.publication import publish
from banana_delivery.delivery.signing.statements import PROVENANCE, provenance
from banana_delivery.delivery.upkeep.home import prune_home
from banana_delivery.errors import GateError, ImageError, SelfTestFailedError, TargetError
from banana_delivery.files import bytes_digest, file_sha256
from banana_delivery.images.base import BuildContext, BuiltImage, ImageStore, Parity, Progress
from banana_delivery.images.release import release_tags, stranger
from banana_delivery.images.retention import refusals
from banana_delivery.images.scanning import Audit, OtherLock, scan
from banana_delivery.images.supply_chain.attachments import Attachment
from banana_delivery.images.supply_chain.installed import Installed
from banana_delivery.images.supply_chain.publication import Publication, Published
from banana_delivery.images.supply_chain.sbom import sbom
from banana_delivery.images.supply_chain.system_audit import SystemScan, audit_system, together
from banana_delivery.names import CHECKPOINT_SHA256_LABEL, LOCK_SHA256_LABEL, MLFLOW_RUN_LABEL, OCI_SOURCE_LABEL
from banana_delivery.policy import commands
from banana_delivery.policy.asset_records import ArtifactRecord, ImageRecord
from banana_delivery.policy.model import COLOURS, ImageRef
from banana_delivery.policy.outcomes import served_since
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.settings import Settings
from banana_delivery.targets.base import ReleaseTarget
from banana_delivery.waiting import Clock

SERVING_CODE = bundle.SERVING_CODE
DAY_SECONDS = 86_400


@dataclass
class ImageBuild:
    """Makes the image of one version, or finds it.

    Attributes:
        store: where images are built and kept.
        target: knows which images are in use.
        settings: what may be built again, how long images are kept, and how they are scanned.
        audit_log: knows what was recorded of the version before.
        clock: tells what was served within the rollback window.
        say: told what happens.
        run_id: the run that wants it.
    """

    store: ImageStore
    target: ReleaseTarget
    settings: Settings
    audit_log: AuditLog
    clock: Clock
    say: Progress
    run_id: str = ""

    @property
    def _lock(self) -> Path:
        return bundle.serving_lock(self.settings.serving_device)

    def original(self, artifact: ArtifactRecord) -> ImageRecord | None:
        """The record of the digest that was released before; None if none was ever built.

        Raises:
            ImageError: if the store has it no more, and it may not be built again or would not come out the same.
        """
        earlier = self.audit_log.latest(ImageRecord, "image", artifact.version)
        if earlier is None:
            return None
        there = self.store.resolve(earlier.ref.digest)
        if there is None:
            return self._rebuilt(artifact, earlier.ref)
        # It may have moved since: what it is, the record says, and the store where.
        earlier = earlier.replace(ref=earlier.ref.replace(repository=there.repository))
        self.say(f"Redeploy: taking the original image {earlier.ref.digest}")
        # Our own signed record has it, from a time before images were signed, perhaps.
        signed = publish(self.store, self.settings, Publication(ref=earlier.ref, sign=True))
        reused = earlier.layers_new + earlier.layers_reused
        earlier = earlier.replace(signed_by=signed.signed_by or earlier.signed_by)
        if earlier.audit == Audit.UNKNOWN and self.settings.unaudited == "reject":
            # The database may answer by now, and nothing but asking it would ever let the image through again. Where a
            # warning is enough, a way back waits for no database, and none may close it.
            audit, detail = self._audit(earlier.ref, self._look_inside(earlier.ref)[0])
            earlier = earlier.replace(audit=audit, audit_detail=detail)
        return earlier.replace(reused=True, new_bytes=0, layers_new=(), layers_reused=reused, seconds=0.0)

    def make(self, artifact: ArtifactRecord) -> ImageRecord:
        """Find or build the image, tag it, test it, and make room for it.

        Raises:
            ImageError: if it cannot be built, found or tagged.
        """
        start, began = time.monotonic(), self.clock.time()
        context, base_moved = self._context(artifact)
        existing = self.store.find(self.store.key(context))
        built = self._found(existing) if existing else self.store.build(context, self.say)
        # What wrote no layer was found, if not here then inside `build`; it is not named or run before it is proven.
        made = bool(built.layers_new)
        if not made:
            made, ours = self._prove(context, built)
            existing, built = existing if ours is built else None, ours
        self.store.tag(built.ref, release_tags(artifact.version, git_revision()))
        passed, detail = self._self_test(built.ref)
        inside, bill_trouble = self._look_inside(built.ref)
        audit, audit_detail = self._audit(built.ref, inside)
        bill, bill_trouble = self._bill_of_materials(built.ref, inside, bill_trouble)
        published = self._publish(artifact, built.ref, began, bill, made=made)
        if bill_trouble := bill_trouble or published.bill_trouble:
            self.say(f"The image has no bill of materials: {bill_trouble}")
            bill = None
        pruned, prune_trouble = self._make_room(built.ref)
        return ImageRecord(
            ref=built.ref,
            size_bytes=built.size_bytes,
            new_bytes=built.new_bytes,
            layers_new=built.layers_new,
            layers_reused=built.layers_reused,
            tags=tuple(sorted(self.store.tags(built.ref))),
            self_test_passed=passed,
            self_test_detail=detail,
            pickles=self.store.pickles_inside(built.ref),
            audit=audit,
            audit_detail=audit_detail,
            sbom=bytes_digest(bill.content) if bill else "",
            sbom_components=len(json.loads(bill.content)["components"]) if bill else 0,
            sbom_trouble=bill_trouble,
            signed_by=published.signed_by,
            base_moved=base_moved,
            lock_difference=self.store.lock_difference(built.ref, self._lock),
            precision=artifact.precision,
            precision_reason=artifact.precision_reason,
            reused=existing is not None,
            pruned=pruned,
            prune_trouble=prune_trouble,
            seconds=time.monotonic() - start,
        )

    def _context(self, artifact: ArtifactRecord) -> tuple[BuildContext, str]:
        """What is to be built, on nothing but what our records vouch for, and whether its base has moved."""
        context = replace(
            build_context(artifact, self.settings),
            vouched=lambda key: vouched_runtime(self.audit_log, self.store, key),
        )
        moved = moved_base(self.audit_log, self.store, self.store.key(context), self.settings.base_image)
        if moved:
            self.say(moved)
        return context, moved

    def _rebuilt(self, artifact: ArtifactRecord, original: ImageRef) -> ImageRecord:
        """The original made again, if what went into it is still the same: the same inputs give the same layers."""
        if not self.settings.rebuild_missing:
            raise ImageError(
                f"The original image {original.digest[:19]} of version {original.version} is gone from "
                f"{original.repository}; restore it there, or set BANANA_REBUILD_MISSING=true to have the same built "
                "again."
            )
        if self.store.key(build_context(artifact, self.settings)).sha256 != original.key:
            raise ImageError(
                f"The original image {original.digest[:19]} of version {original.version} is gone and cannot be built "
                "again: its serving code, lock, base or precision was another; publish the model as a new version to "
                "deliver it with today's."
            )
        return self.make(artifact)

    def _found(self, ref: ImageRef) -> BuiltImage:
        """Nothing new was written; how large it is was recorded when it was built, unless that was elsewhere."""
        earlier = self.audit_log.latest(ImageRecord, "image", ref.version)
        size = earlier.size_bytes if earlier and earlier.ref.digest == ref.digest else 0
        layers = ("code", "model", "version")
        return BuiltImage(ref=ref, size_bytes=size, new_bytes=0, layers_new=(), layers_reused=layers, seconds=0.0)

    def _make_room(self, ref: ImageRef) -> tuple[tuple[str, ...], str]:
        """The digests of old images that were removed, and why others could not be, which never stops a delivery."""
        try:
            decisions = self.store.prune(
                self.settings.keep_versions,
                lambda: in_use(self.audit_log, self.target, self.settings, self.clock.time(), ref),
                dry_run=False,
            )
        except (ImageError, TargetError) as error:
            self.say(f"Old images were not removed: {error}")
            return (), str(error)
        if trouble := refusals(decisions):
            self.say(f"Not all old images were removed: {trouble}")
        self._tidy_home(ref)
        return tuple(decision.ref.digest for decision in decisions if not decision.keep), trouble

    def _tidy_home(self, ref: ImageRef) -> None:
        now = self.clock.time()
        used = in_use(self.audit_log, self.target, self.settings, now, ref)
        gone = [one for one in prune_home(self.audit_log, self.settings, used, now, dry_run=False) if not one.keep]
        if gone:
            freed = sum(one.kept.size for one in gone)
            self.say(f"{len(gone)} files and folders of old deliveries were removed, {freed / 1e6:,.1f} MB")

    def _look_inside(self, ref: ImageRef) -> tuple[Installed | None, str]:
        """What is installed in an image, or why that cannot be told, which never stops a delivery."""
        try:
            return self.store.installed(ref), ""
        except ImageError as error:
            return None, str(error)

    def _bill_of_materials(
        self, ref: ImageRef, inside: Installed | None, trouble: str
    ) -> tuple[Attachment | None, str]:
        """What is to lie beside the image, or why nothing is, which never stops a delivery."""
        if inside is None:
            return None, trouble
        try:
            return sbom(ref, self.store.labels(ref), inside, self.settings.model_name), ""
        except ImageError as error:
            return None, str(error)

    @cached_property
    def _signer(self) -> ImageSigner:
        return ImageSigner(self.store, self.settings)

    def _publish(
        self, artifact: ArtifactRecord, ref: ImageRef, began: float, bill: Attachment | None, *, made: bool
    ) -> Published:
        """Keep its bill of materials, sign what is ours, and say how it was made if it was made by this run.

        Raises:
            ImageError: if no signature can be kept.
        """
        said: dict[str, dict[str, Any]] = {}
        if made:
            labels, now, commit = self.store.labels(ref), self.clock.time(), git_revision(length=40)
            model, run_id, lock = self.settings.model_name, self.run_id, self._lock.name
            said[PROVENANCE] = provenance(
                artifact, labels, lock=lock, model=model, run_id=run_id, commit=commit, start=began, end=now
            )
        text = bill.content.decode() if bill else ""
        return publish(self.store, self.settings, Publication(ref=ref, bill=text, said=said, sign=True))

    def _prove(self, context: BuildContext, found: BuiltImage) -> tuple[bool, BuiltImage]:
        """Whether an image that was found was made again, since neither our signature nor a record of ours has it.

        What was merely found is somebody's who may push, until it is proven. One that differs only in the packages that
        it stands on may be from a delivery that died before it told anybody of them: it is not taken, and ours replaces
        it.

        Returns:
            Whether it was made by this run, and the image that counts.

        Raises:
            ImageError: if what is made of the same inputs is another image.
        """
        ref = found.ref
        if (self._signer.key and self._signer.has_signed(ref)) or self._on_record(ref):
            return False, found
        self.say(
            f"{ref.digest} was there already and no record has it; it is made again and compared before it is signed"
        )
        parity = self.store.rebuild(context, ref, self.say)
        if parity.only_below:
            self.say(f"{ref.digest} stands on packages that no record vouches for; it is not taken, but built anew")
            return True, self.store.build(replace(context, anew=True), self.say)
        if not parity.proven:
            raise ImageError(
                f"{ref.pinned} says that it is version {ref.version}, but what its inputs give is another image "
                f"({parity.differences[0]}); it is not signed. Find out who put it there, and remove it."
            )
        return True, found

    def _on_record(self, ref: ImageRef) -> bool:
        return any(one.ref.digest == ref.digest for one in self.audit_log.all(ImageRecord, "image", ref.version))

    def _audit(self, ref: ImageRef, inside: Installed | None) -> tuple[str, str]:
        """Only images that bring their packages along are scanned; the embedded ones run on this host's.

        Args:
            ref: the image.
            inside: what is installed in it; None if that cannot be told.
        """
        if not self.store.brings_packages:
            return "", ""
        url, accepted = self.settings.osv_url, self.settings.accepted_vulnerabilities
        with ThreadPoolExecutor(1) as beside:  # Each of them waits for a database.
            asked = beside.submit(audit_system, inside, osv_url=url, accepted=accepted) if inside else None
            # Today's lock says nothing of an image that was built for another one, neither good nor bad.
            of_today = self.store.labels(ref).get(LOCK_SHA256_LABEL) == file_sha256(self._lock)
            found = scan(self._lock, osv_url=url, accepted=accepted) if of_today else OtherLock()
            unseen = SystemScan(trouble="what is installed in the image cannot be read")
            return together([found, asked.result() if asked else unseen])

    def _self_test(self, ref: ImageRef) -> tuple[bool, str]:
        """Whether it passed, and what it said; that it could not run says nothing of the version, and is raised."""
        try:
            return True, str(self.store.self_test(ref))
        except SelfTestFailedError as error:
            return False, str(error)


def build_context(artifact: ArtifactRecord, settings: Settings) -> BuildContext:
    """The version's exported model with today's serving code and lock, and whatever an installation says of both."""
    source_url = settings.source_url
    return BuildContext(
        model_directory=Path(artifact.directory),
        code_directory=SERVING_CODE,
        lock_file=bundle.serving_lock(settings.serving_device),
        version=artifact.version,
        labels={
            MLFLOW_RUN_LABEL: artifact.mlflow_run_id,
            CHECKPOINT_SHA256_LABEL: artifact.checkpoint_sha256,
            **({OCI_SOURCE_LABEL: source_url} if source_url else {}),
        },
    )


def refuse_stranger(audit_log: AuditLog, store: ImageStore, ref: ImageRef, version: str, settings: Settings) -> None:
    """Let only that image be deployed which the store itself says to be this version's, whatever is on record.

    Raises:
        GateError: if it is another one by its own labels, or bears no signature where one is asked for.
        ImageError: if it is not in the configured repository, or cannot be looked at.
        BadSettingsError: if the keys of those who may sign cannot be read.
    """
    models = {one.onnx_sha256 for one in audit_log.all(ArtifactRecord, "model_artifact", version)}
    if why := stranger(ref, store.labels(ref), version, models):
        raise GateError(why)
    refuse_unsigned(store, ref, settings)


def rebuild(audit_log: AuditLog, store: ImageStore, version: str, progress: Progress, settings: Settings) -> Parity:
    """Build a version's image once more and compare it with the one that was recorded; nothing of it is kept.

    Raises:
        ImageError: if the version has no image, or it is gone.
    """
    original = audit_log.latest(ImageRecord, "image", version)
    artifact = audit_log.latest(ArtifactRecord, "model_artifact", version)
    if original is None or artifact is None:
        raise ImageError(f"Version {version} has no image yet; deliver it as a whole: {commands.deliver(version)}")
    return store.rebuild(build_context(artifact, settings), original.ref, progress)


def in_use(
    audit_log: AuditLog, target: ReleaseTarget, settings: Settings, now: float, *about_to: ImageRef
) -> Collection[str]:
    """Digests that run, that a rollback would bring back, that served within the rollback window, or that are next."""
    records = [target.record(environment) for environment in COLOURS]
    deployed = {deployment.image.digest for record in records for deployment in record.deployments.values()}
    candidates = {record.candidate.digest for record in records if record.candidate}
    before = {record.previous.digest for record in records if record.previous}
    since = now - settings.rollback_window_days * DAY_SECONDS
    served = served_since(audit_log.said_attempts(), since)
    return deployed | candidates | before | served | {ref.digest for ref in about_to}


def git_revision(length: int = 12) -> str:
    """The commit hash of the checkout, so many characters of it, or nothing where the code did not come by git."""
    if bundle.CHECKOUT is None:
        return ""
    asked = ["git", "rev-parse", f"--short={length}", "HEAD"]
    try:
        done = subprocess.run(asked, cwd=bundle.CHECKOUT, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
