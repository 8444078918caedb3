"""Retention against releases that start while it runs."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from banana_delivery.images.docker.store import DockerImages
from banana_delivery.policy.model import ImageRef
from tests.contract.image_store_contract import Sources, quiet


def test_no_image_is_removed_after_it_was_handed_to_a_release(
    make_store: Callable[..., DockerImages], tmp_path: Path, small_lock: str
) -> None:
    sources = Sources(tmp_path, small_lock, salt=uuid.uuid4().hex)
    contexts = [sources.context(str(number), model=b"%d" % number) for number in range(4)]
    builder = make_store()
    keys = [builder.key(context) for context in contexts]
    for context in contexts:
        builder.build(context, quiet)
    later = time.time() + 7200  # The builds' own leases have run out.
    pruning, asking = make_store(clock=lambda: later), make_store(clock=lambda: later)
    handed: list[ImageRef] = []
    done = threading.Event()

    def ask_for_everything() -> None:
        handed.extend(ref for key in keys * 3 if (ref := asking.find(key)) is not None)
        done.set()

    release = threading.Thread(target=ask_for_everything)
    release.start()
    removed: set[str] = set()
    while not done.is_set():
        decisions = pruning.prune(1, lambda: (), dry_run=False)
        removed |= {decision.ref.digest for decision in decisions if not decision.keep}
    release.join()

    assert handed
    assert removed.isdisjoint(ref.digest for ref in handed)
    assert all(asking.resolve(ref.digest) == ref for ref in handed)
