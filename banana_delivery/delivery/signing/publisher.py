"""The program of the pod that writes into the registry: ``python -m banana_delivery.delivery.signing.publisher``.

It carries out one order, which lies in its working directory with the files that belong to it. A delivery that somebody
has taken over may order what any delivery may: a release of our code with a model, signatures and statements upon
releases, names for people. It cannot have anything else written, nor see the login or the key: only files of fixed
names are read, none of them through a link, and media types are chosen here.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from banana_delivery import bundle
from banana_delivery.delivery.signing.publication import publish
from banana_delivery.delivery.signing.statements import PROVENANCE, SBOM, VERDICT
from banana_delivery.errors import BananaDeliveryError, ImageError
from banana_delivery.files import copy_plain, read_plain
from banana_delivery.images.base import BuildContext, Progress
from banana_delivery.images.direct.store import DirectImages, direct_images
from banana_delivery.images.oci_registry.pins import for_people
from banana_delivery.images.release import release_tags
from banana_delivery.images.retention import refusals
from banana_delivery.images.supply_chain.publication import Publication
from banana_delivery.names import CHECKPOINT_SHA256_LABEL, MLFLOW_RUN_LABEL, OCI_SOURCE_LABEL
from banana_delivery.policy.staged_versions import is_version
from banana_delivery.publishing.order import ANSWER_FILE, MODEL_FILES, ORDER_FILE, BuildOrder, Done, Order, PruneOrder
from banana_delivery.quoting import cited
from banana_delivery.settings import Settings, load_settings

MOST_ORDER = 64 * 2**20
"""Bytes; the bill of materials of a runtime with every library for a GPU has one."""
MOST_FILE = 4 * 2**30
"""Bytes of a model, which an export may have."""
LABELS = (MLFLOW_RUN_LABEL, CHECKPOINT_SHA256_LABEL, OCI_SOURCE_LABEL)
"""What a delivery says of an image; whatever else its labels say is seen here."""
STATEMENTS = (SBOM, PROVENANCE, VERDICT)


def carry_out(order: Order, folder: Path, store: DirectImages, settings: Settings) -> Done:
    """Do what is ordered.

    Args:
        order: what to do.
        folder: holds the files that belong to it.
        store: writes.
        settings: name the key, and what images are built for.

    Raises:
        BananaDeliveryError: if it cannot be done, or no delivery has reason to want it.
    """
    said: list[str] = []
    done = Done()
    if order.build:
        done = _build(order.build, folder, store, settings, said.append)
    elif order.lend:
        done = Done(digest=order.lend if store.resolve(order.lend) else "")
    elif order.publish:
        _refuse_strange(order.publish, store)
        done = Done(published=publish(store, settings, order.publish))
    elif order.prune:
        done = _prune(order.prune, store, said.append)
    return done.replace(said=tuple(said))


def _build(order: BuildOrder, folder: Path, store: DirectImages, settings: Settings, say: Progress) -> Done:
    if not is_version(order.version):
        raise ImageError(f"{cited(order.version)} is no version number of MLflow; nothing was written.")
    vouched = order.vouched
    with tempfile.TemporaryDirectory() as name:
        given = Path(name)
        for file in MODEL_FILES:
            copy_plain(folder / file, given / file, MOST_FILE)
        context = BuildContext(
            model_directory=given,
            code_directory=bundle.SERVING_CODE,
            lock_file=bundle.serving_lock(settings.serving_device),
            version=order.version,
            labels={name: order.labels[name] for name in LABELS if name in order.labels},
            vouched=None if vouched is None else lambda _: vouched,
            anew=True,  # Whether there is one of the same identity, the delivery has seen.
        )
        built = store.build(context, say)
    # What was made of these files just now may be named; what was merely found might be another's.
    store.tag(built.ref, release_tags(order.version, revision=""))
    return Done(digest=built.ref.digest, sent=built.layers_new)


def _refuse_strange(publication: Publication, store: DirectImages) -> None:
    """No delivery names another repository, the registry's bookkeeping, or what is no release; nor says other things.

    Raises:
        ImageError: if this one does.
    """
    store.labels(publication.ref)  # It is a release, and it is here.
    tags = set(publication.tags)
    if strange := [*(tags - for_people(tags)), *(kind for kind in publication.said if kind not in STATEMENTS)]:
        raise ImageError(f"{cited(strange[0])} is nothing that a delivery puts beside an image; nothing was written.")


def _prune(order: PruneOrder, store: DirectImages, say: Progress) -> Done:
    used: Callable[[], tuple[str, ...]] = lambda: order.in_use  # noqa: E731
    decisions = store.prune(order.keep_versions, used, dry_run=False)
    if trouble := refusals(decisions):
        say(f"Not all old images were removed: {trouble}")
    return Done(removed=tuple(decision.ref.digest for decision in decisions if not decision.keep))


def main(folder: Path) -> int:
    """Carry out the order in a folder, answer beside it, and return the exit code."""
    try:
        settings = load_settings()
        order = Order.model_validate_json(read_plain(folder / ORDER_FILE, MOST_ORDER))
        with closing(direct_images(settings)) as store:
            done = carry_out(order, folder, store, settings)
        # A file of its own: the folder is another's too, who may have put a link there.
        with (folder / ANSWER_FILE).open("x") as file:
            file.write(done.model_dump_json())
    except (BananaDeliveryError, OSError, ValueError) as error:
        print(error)  # noqa: T201 - the last line is what the delivery tells people
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
