"""Sending and fetching blobs where requests are too large, break off, or are answered in odd ways."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import pytest

from banana_delivery.errors import ImageError
from banana_delivery.images.docker.credentials import Credentials
from banana_delivery.images.oci_registry import blobs
from banana_delivery.images.oci_registry.blobs import Blob, described, fetch, link, send
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.waiting import Retries
from tests.contract.image_store_contract import quiet
from tests.support.clock import HandClock
from tests.unit.images.oci_registry.registry_server import Answer, RegistryServer, digest

CONTENT = bytes(range(256)) * 8


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "PIECE_BYTES", 600)
    monkeypatch.setattr(blobs, "SMALLEST_PIECE_BYTES", 100)


def sent(client: RegistryClient, content: bytes = CONTENT) -> bool:
    return send(client, described(content), io.BytesIO(content))


def test_a_large_blob_goes_in_pieces_and_a_small_one_at_once(registry: RegistryServer, client: RegistryClient) -> None:
    assert sent(client)
    assert registry.blobs[digest(CONTENT)] == CONTENT
    assert registry.asked["PATCH blobs"] == 4

    assert sent(client, b"small")
    assert registry.blobs[digest(b"small")] == b"small"
    assert registry.asked["PATCH blobs"] == 4


def test_what_is_there_is_not_sent_again(registry: RegistryServer, client: RegistryClient) -> None:
    registry.blobs[digest(CONTENT)] = CONTENT

    assert not sent(client)
    assert registry.asked["POST blobs"] == 0


@pytest.mark.parametrize("after", [0, 1, 700, 1999])
def test_an_upload_that_breaks_off_goes_on_where_it_was(
    after: int, registry: RegistryServer, client: RegistryClient
) -> None:
    registry.breaks = after

    assert sent(client)

    assert registry.blobs[digest(CONTENT)] == CONTENT
    # Only where no second byte had arrived is it begun anew.
    assert registry.asked["POST blobs"] == (2 if after < 2 else 1)


def answers(*wanted: tuple[str, Answer]) -> Callable[[str, str, Answer], Answer]:
    """The next request of each method is answered so, in order."""
    left = list(wanted)

    def habit(method: str, path: str, usual: Answer) -> Answer:
        if left and left[0][0] == method and "uploads/" in path:
            return left.pop(0)[1]
        return usual

    return habit


@pytest.mark.parametrize("status", [404, 410, 416, 400])
def test_an_upload_that_the_registry_has_forgotten_is_begun_anew(
    status: int, registry: RegistryServer, client: RegistryClient
) -> None:
    registry.habit = answers(("PATCH", Answer(status)))

    assert sent(client)
    assert registry.blobs[digest(CONTENT)] == CONTENT
    assert registry.asked["POST blobs"] == 2


@pytest.mark.parametrize(
    "habit", [answers(("PATCH", Answer(503)), ("GET", Answer(404))), answers(("PUT", Answer(502)))]
)
def test_a_registry_that_cannot_say_how_far_an_upload_came_is_sent_it_anew(
    habit: Callable[[str, str, Answer], Answer], registry: RegistryServer, client: RegistryClient
) -> None:
    registry.habit = habit

    assert sent(client)
    assert registry.blobs[digest(CONTENT)] == CONTENT


def test_a_registry_that_takes_no_large_requests_is_sent_smaller_ones(
    registry: RegistryServer, client: RegistryClient
) -> None:
    registry.largest = 200

    assert sent(client)
    assert sent(client, b"x" * 500)
    assert registry.blobs[digest(CONTENT)] == CONTENT


def test_a_registry_that_takes_next_to_nothing_at_once_is_named(
    registry: RegistryServer, client: RegistryClient
) -> None:
    registry.largest = 90

    with pytest.raises(ImageError, match="takes no 100 bytes at once"):
        sent(client)


def test_pieces_are_as_large_as_the_registry_asks_for(registry: RegistryServer, client: RegistryClient) -> None:
    registry.habit = lambda method, _path, usual: (
        replace(usual, headers={**usual.headers, "OCI-Chunk-Min-Length": "1500"}) if method == "POST" else usual
    )

    assert sent(client)
    assert registry.asked["PATCH blobs"] == 2


def test_an_upload_that_is_only_accepted_counts_once_it_is_there(
    registry: RegistryServer, client: RegistryClient
) -> None:
    registry.habit = lambda method, _path, usual: Answer(202) if method == "PUT" else usual
    assert sent(client)

    def lost(method: str, _path: str, usual: Answer) -> Answer:
        if method != "PUT":
            return usual
        registry.blobs.clear()
        return Answer(204)

    registry.blobs.clear()
    registry.habit = lost
    with pytest.raises(ImageError, match=r"broke the upload of sha256:.* Tried 2 times"):
        sent(client)


def test_no_piece_goes_to_another_host_in_the_middle_of_an_upload(
    registry: RegistryServer, client: RegistryClient
) -> None:
    def moved(method: str, _path: str, usual: Answer) -> Answer:
        if method != "PATCH":
            return usual
        return replace(usual, headers={**usual.headers, "Location": "https://elsewhere.example/v2/upload"})

    registry.habit = moved

    with pytest.raises(ImageError, match=r"sent to elsewhere\.example"):
        sent(client)


@pytest.mark.parametrize("prefix", ["", "../uploads/", "http://{host}/v2/acme/banana/blobs/uploads/"])
def test_a_place_is_understood_however_it_is_written(
    prefix: str, registry: RegistryServer, client: RegistryClient
) -> None:
    def relative(method: str, _path: str, usual: Answer) -> Answer:
        if method != "POST":
            return usual
        name = usual.headers["Location"].rpartition("/")[2]
        return replace(usual, headers={"Location": prefix.format(host=registry.host) + name})

    registry.habit = relative

    assert sent(client)


@pytest.mark.parametrize("status", [429, 503])
def test_an_upload_waits_as_long_as_it_is_asked_to(status: int, registry: RegistryServer) -> None:
    clock = HandClock()
    registry.habit = answers(("PATCH", Answer(status, b"{}", {"Retry-After": "40"})))
    repository = Repository.parse(f"{registry.host}/acme/banana")
    retries = Retries(attempts=2, first_wait=1.0, clock=clock)
    with closing(RegistryClient(repository, Credentials(), retries, quiet)) as client:
        assert sent(client)

    assert clock.slept == [40.0]


def test_two_who_send_the_same_at_once_both_succeed(registry: RegistryServer, client: RegistryClient) -> None:
    threads = [threading.Thread(target=sent, args=(client,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert registry.blobs[digest(CONTENT)] == CONTENT


def test_a_blob_is_linked_from_another_repository_and_not_where_the_registry_will_not(
    registry: RegistryServer, client: RegistryClient
) -> None:
    blob = described(CONTENT)
    registry.others.append(RegistryServer(path="acme/banana-runtime", blobs={blob.digest: CONTENT}))

    assert link(client, blob, "acme/banana-runtime")
    assert link(client, blob, "acme/banana-runtime")
    assert registry.asked["POST blobs"] == 1

    registry.blobs.clear()
    registry.links = False
    for habit in (Answer(202), Answer(403), Answer(404), Answer(405), Answer(401, b"", {"WWW-Authenticate": "Basic"})):
        registry.habit = lambda method, _path, usual, it=habit: it if method == "POST" else usual  # type: ignore[misc]
        assert not link(client, blob, "acme/banana-runtime")
    # Whoever says that it did, and did not, is not believed.
    registry.habit = lambda method, _path, usual: Answer(201) if method == "POST" else usual
    assert not link(client, blob, "acme/banana-runtime")


def test_a_fetched_blob_is_what_its_digest_says_or_the_fetching_fails(
    registry: RegistryServer, client: RegistryClient
) -> None:
    into = io.BytesIO(b"something from before that is longer than nothing")
    registry.blobs[digest(CONTENT)] = CONTENT

    fetch(client, described(CONTENT), into)
    assert into.read() == CONTENT

    registry.blobs[digest(CONTENT)] = CONTENT[:-1]
    with pytest.raises(ImageError, match="damaged or not whole"):
        fetch(client, described(CONTENT), into)
    registry.blobs[digest(CONTENT)] = CONTENT * 2
    with pytest.raises(ImageError, match="more than"):
        fetch(client, described(CONTENT), into)
    with pytest.raises(ImageError):
        fetch(client, Blob(digest(b"gone"), 4), into)
