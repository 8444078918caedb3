"""Removals that are slow, late or not heard of, beside releases of the same digest, and at registries with habits."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from functools import partial

import pytest

from banana_delivery.errors import ImageError
from banana_delivery.images.docker.credentials import Credentials
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.images import RegistryImages
from banana_delivery.images.oci_registry.manifest import MANIFEST_TYPES, Manifest
from banana_delivery.images.oci_registry.pins import NOTE_CONTENTS, deletion_tag, leases_of, note_of
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.images.supply_chain.attachments import Attachment, AttachmentKind
from banana_delivery.names import DOOMED_TAG_PREFIX, LEASE_TAG_PREFIX, PARDONED_TAG_PREFIX
from banana_delivery.waiting import Retries
from tests.contract.image_store_contract import nobody, quiet
from tests.unit.images.oci_registry.conftest import LEASE, START, Images
from tests.unit.images.oci_registry.registry_server import Answer, RegistryServer, digest
from tests.unit.images.oci_registry.test_parts import index, key, part, release

Made = Callable[[str], list[Manifest]]
KNOWN = (
    "application/octet-stream",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.oci.image.layer.v1.tar",
)
"""Kinds of content that every registry knows, and the one that images of these tests are made of."""


def alone(registry: RegistryServer, version: str) -> Made:
    """A release for one platform."""
    return lambda again: [part(registry, version, "amd64", again)]


def both(registry: RegistryServer, version: str) -> Made:
    """A release for two."""
    return release(registry, version)


KINDS = pytest.mark.parametrize("made", [alone, both])


def old_and_new(registry: RegistryServer, images: Images, now: list[float]) -> str:
    """Two releases whose leases are over; returns the digest of the older, which retention removes."""
    old = images().put(key("1"), alone(registry, "1"))
    now[0] += 1
    images().put(key("2"), alone(registry, "2"))
    now[0] += 2 * LEASE
    return old.digest


def gone(registry: RegistryServer, digest: str) -> None:
    """Retention that was past its look for leases removes an image, and its mark with it."""
    registry.manifests.pop(digest, None)
    registry.tags = {tag: its for tag, its in registry.tags.items() if its != digest}


@KINDS
def test_a_release_that_was_removed_between_its_lease_and_the_look_for_dooms_is_leased_in_the_end(
    made: Callable[[RegistryServer, str], Made], registry: RegistryServer, images: Images
) -> None:
    removed: list[str] = []

    def remove_once(method: str, path: str, usual: Answer) -> Answer:
        if method == "PUT" and path.startswith(f"manifests/{LEASE_TAG_PREFIX}") and not removed:
            removed.append(usual.headers["Docker-Content-Digest"])
            gone(registry, removed[0])
        return usual

    registry.habit = remove_once

    built = images().put(key("1"), made(registry, "1"))

    assert removed
    assert leases_of(registry.tags, built.digest), "nobody may remove what was just handed out"
    assert images().find(key("1"))


def test_a_list_of_tags_that_lags_behind_makes_no_other_release(registry: RegistryServer, images: Images) -> None:
    stale = json.dumps({"name": registry.path, "tags": []}).encode()
    registry.habit = lambda _method, path, usual: Answer(200, stale) if path.startswith("tags/") else usual

    assert images().put(key("1"), alone(registry, "1")) == alone(registry, "1")("")[0]


def test_documents_of_an_image_that_was_built_again_are_not_removed_with_its_predecessor(
    registry: RegistryServer, images: Images, now: list[float]
) -> None:
    old_and_new(registry, images, now)
    bill = Attachment(b"bill", "text/plain")
    built: list[str] = []

    def build_once_nothing_speaks_against_it(method: str, path: str, usual: Answer) -> Answer:
        if method == "DELETE" and not built and not [tag for tag in registry.tags if tag.startswith(DOOMED_TAG_PREFIX)]:
            built.append(images().put(key("1"), alone(registry, "1")).digest)
            images().attach(built[0], AttachmentKind.SBOM, [bill])
        return usual

    registry.habit = build_once_nothing_speaks_against_it

    images().prune(1, nobody, dry_run=False)

    assert images().attached(built[0], AttachmentKind.SBOM) == (bill,)


def test_an_image_whose_tags_the_registry_still_removes_stays_doomed_although_the_next_request_finds_it_gone(
    registry: RegistryServer, images: Images, now: list[float]
) -> None:
    old = old_and_new(registry, images, now)
    tags = {tag: its for tag, its in registry.tags.items() if its == old}

    def times_out(method: str, path: str, usual: Answer) -> Answer:
        if (method, path, usual.status) != ("DELETE", f"manifests/{old}", 202):
            return usual
        registry.tags |= tags  # A proxy in front of it gave up; behind it they go one by one.
        return Answer(504)

    registry.habit = times_out
    images().prune(1, nobody, dry_run=False)

    built = images().put(key("1"), alone(registry, "1"))
    gone(registry, old)

    assert built.digest != old
    assert images().find(key("1"))


@pytest.mark.parametrize(("status", "given"), [(403, True), (504, False)])
def test_only_a_removal_that_was_refused_takes_its_doom_back_since_another_may_still_be_carried_out(
    status: int, given: bool, registry: RegistryServer, images: Images, now: list[float]
) -> None:
    old = old_and_new(registry, images, now)
    usual = registry._manifest
    registry._manifest = (  # type: ignore[method-assign]
        lambda method, name, content: (
            Answer(status) if method == "DELETE" and (name == old or given) else usual(method, name, content)
        )
    )

    with pytest.raises(ImageError):
        images().prune(1, nobody, dry_run=False)

    assert bool(images().resolve(old)) == given
    now[0] += LEASE
    assert images().resolve(old)


def test_hosts_whose_clocks_differ_agree_about_leases_by_the_registry_s(
    registry: RegistryServer, client: RegistryClient
) -> None:
    date = formatdate(START, usegmt=True)  # Far behind this machine's.
    registry.habit = lambda _method, _path, usual: replace(usual, headers={**usual.headers, "Date": date})
    repository = Repository.parse(f"{registry.host}/acme/banana")
    here = RegistryImages(client, repository, LEASE, client.time)
    for version in "12":
        client.tags()
        here.put(key(version), alone(registry, version))
    there = RegistryImages(client, repository, LEASE, lambda: START + 60)

    assert [one.reason for one in there.prune(1, nobody, dry_run=False)][1].startswith("built or asked for less than")


def test_a_removal_is_waited_for_longer_than_an_answer(registry: RegistryServer) -> None:
    image = registry.put_image("1", "2026-01-01T00:00:00Z")

    def slow(method: str, _path: str, usual: Answer) -> Answer:
        time.sleep(0.3 if method == "DELETE" else 0.0)
        return usual

    registry.habit = slow
    repository = Repository.parse(f"{registry.host}/acme/banana")
    with closing(RegistryClient(repository, Credentials(), Retries(attempts=1), quiet, timeout=0.1)) as client:
        client.delete_manifest(image)

    assert registry.asked == {"DELETE manifests": 1}


def test_an_image_without_a_lease_that_is_removed_while_it_is_leased_is_given_to_nobody(
    registry: RegistryServer, images: Images, now: list[float]
) -> None:
    old = old_and_new(registry, images, now)
    registry.tags = {tag: its for tag, its in registry.tags.items() if not tag.startswith(LEASE_TAG_PREFIX)}
    releasing = images()
    found = releasing.read(old)
    assert found

    def remove_before_the_lease(method: str, path: str, usual: Answer) -> Answer:
        if method == "HEAD" and path == f"manifests/{old}":
            gone(registry, old)
        return usual

    registry.habit = remove_before_the_lease

    assert releasing.pin(found) is None


@pytest.mark.parametrize("unknown", ["config", "artifactType", "layer", "no layer"])
def test_a_doom_can_be_put_wherever_an_image_can(
    unknown: str, registry: RegistryServer, images: Images, now: list[float]
) -> None:
    old = old_and_new(registry, images, now)
    usual = registry._manifest

    def strict(method: str, name: str, content: bytes) -> Answer:
        told = json.loads(content) if method == "PUT" else {}
        refused = {
            "config": told.get("config", {"mediaType": KNOWN[0]})["mediaType"] not in KNOWN,
            "artifactType": "artifactType" in told,
            "layer": not all(one["mediaType"] in KNOWN for one in told.get("layers", [])),
            "no layer": told.get("layers") == [],
        }
        return Answer(400, b"MANIFEST_INVALID unknown media type") if refused[unknown] else usual(method, name, content)

    registry._manifest = strict  # type: ignore[method-assign]

    images().prune(1, nobody, dry_run=False)

    assert old not in registry.manifests
    assert not [tag for tag in registry.tags if tag.startswith((DOOMED_TAG_PREFIX, PARDONED_TAG_PREFIX))]


def test_a_doom_is_no_release(registry: RegistryServer, images: Images) -> None:
    image = images().put(key("1"), alone(registry, "1"))
    mark = deletion_tag(image.digest, START - LEASE)
    for content in NOTE_CONTENTS:
        registry.blobs[digest(content)] = content
    registry.manifests[note_of(mark).digest] = note_of(mark).body
    registry.tags[mark] = note_of(mark).digest

    assert images().peek(mark) is None
    assert [one.ref.digest for one in images().prune(9, nobody, dry_run=True)] == [image.digest]


def test_an_index_that_does_not_say_what_it_is_is_told_by_what_it_names(registry: RegistryServer) -> None:
    parts = {name: part(registry, "1", name) for name in ("amd64", "arm64")}
    whole = {name: told for name, told in index(parts).document.items() if name != "mediaType"}
    body = json.dumps(whole).encode()

    assert Manifest.of(body).media_type == index(parts).media_type
    assert Manifest.of(b"{}").media_type == MANIFEST_TYPES[-1]


@dataclass
class Turns:
    """Has one actor stop before one of its requests, until another has made some of its own; then both go on.

    Attributes:
        before: which request of the first; from 1.
        after: how many requests of the second.
    """

    before: int
    after: int
    asked: Counter[str] = field(default_factory=Counter)
    second_may: threading.Event = field(default_factory=threading.Event)
    first_may: threading.Event = field(default_factory=threading.Event)
    first_is_done: threading.Event = field(default_factory=threading.Event)

    def take(self, who: str) -> None:
        """Wait for its turn."""
        self.asked[who] += 1
        if (who, self.asked[who]) == ("first", self.before):
            self.second_may.set()
            assert self.first_may.wait(30)
        if (who, self.asked[who]) == ("second", self.after + 1):
            self.first_may.set()
            assert self.first_is_done.wait(30)


def woven(registry: RegistryServer, turns: Turns, acts: dict[str, Callable[[], str]]) -> list[str]:
    """What two actors were given whose requests are answered in turns; the clients are told apart by their agents."""
    usual, given = RegistryServer.answer, list[str]()

    def answer(method: str, url: str, headers: dict[str, str], content: bytes) -> Answer:
        if (who := headers.get("User-Agent", "")) in acts:
            turns.take(who)
        return usual(registry, method, url, headers, content)

    def run(who: str) -> None:
        if who == "second":
            assert turns.second_may.wait(30)
        given.append(acts[who]())
        if who == "first":
            turns.second_may.set()
            turns.first_is_done.set()
        turns.first_may.set()

    registry.answer = answer  # type: ignore[method-assign]
    actors = [threading.Thread(target=run, args=(who,)) for who in acts]
    for one in actors:
        one.start()
    for one in actors:
        one.join()
    del registry.answer
    return [digest for digest in given if digest]


ACTORS = ("first", "second")
DOES: dict[str, Callable[[RegistryImages, Made], str]] = {
    "put": lambda its, made: its.put(key("1"), made).digest,
    "find": lambda its, _made: found.ref.digest if (found := its.find(key("1"))) else "",
    "prune": lambda its, _made: str(its.prune(1, nobody, dry_run=False))[:0],
}


@pytest.mark.long
@pytest.mark.parametrize("does", [("prune", "put"), ("put", "prune"), ("prune", "find")])
def test_whatever_is_handed_out_is_there_and_leased_however_the_requests_of_retention_fall_between(
    does: tuple[str, str], registry: RegistryServer, images: Images, now: list[float]
) -> None:
    with ExitStack() as clients:
        repository = Repository.parse(f"{registry.host}/acme/banana")

        def of(who: str) -> RegistryImages:
            client = RegistryClient(repository, Credentials(), Retries(attempts=2, first_wait=0.01), quiet)
            client._http.headers["User-Agent"] = who
            clients.callback(client.close)
            return RegistryImages(client, repository, LEASE, lambda: now[0])

        acts: dict[str, Callable[[], str]] = {
            who: partial(DOES[act], of(who), alone(registry, "1")) for who, act in zip(ACTORS, does, strict=True)
        }
        before, after = 1, 1
        while True:
            registry.manifests.clear()
            registry.tags.clear()
            for version in "12":
                now[0] += 1
                images().put(key(version), alone(registry, version))
            now[0] += 2 * LEASE
            turns = Turns(before, after)

            for given in woven(registry, turns, acts):
                assert given in registry.manifests, (before, after)
                assert leases_of(registry.tags, given), (before, after)

            if turns.asked["first"] < before:
                break
            before, after = (before, after + 1) if turns.asked["second"] > after else (before + 1, 1)
