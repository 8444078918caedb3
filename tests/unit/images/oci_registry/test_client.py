"""Registries that are not Docker's own: what they leave out, answer otherwise, or ask for."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from banana_delivery.errors import ImageError
from banana_delivery.images.docker.credentials import Credentials
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.waiting import Retries
from tests.contract.image_store_contract import quiet
from tests.support.clock import HandClock
from tests.unit.images.oci_registry.registry_server import Answer, RegistryServer, digest, serving

DAY = "2026-01-01T00:00:00Z"


def without_digests(_method: str, _path: str, usual: Answer) -> Answer:
    return replace(usual, headers={})


def with_an_empty_digest(_method: str, _path: str, usual: Answer) -> Answer:
    return replace(usual, headers={**usual.headers, "Docker-Content-Digest": ""})


def no_head(status: int) -> object:
    return lambda method, _path, usual: Answer(status) if method == "HEAD" else usual


def in_chunks(_method: str, _path: str, usual: Answer) -> Answer:
    return replace(usual, chunked=True)


HABITS = [without_digests, with_an_empty_digest, no_head(405), no_head(501), no_head(404), in_chunks]


@pytest.mark.parametrize("habit", HABITS)
def test_what_a_tag_points_at_is_known_however_the_registry_answers(
    habit: object, registry: RegistryServer, client: RegistryClient
) -> None:
    image = registry.put_image("1", DAY, "latest")
    registry.habit = habit  # type: ignore[assignment]

    assert client.digest_of("latest") == image
    assert client.digest_of("gone") is None
    manifest = client.manifest("latest")
    assert manifest is not None
    assert manifest.digest == image
    client.put_manifest("moved", manifest)
    assert registry.tags["moved"] == image


@pytest.mark.parametrize("habit", HABITS)
def test_whether_a_blob_is_there_in_full_is_known_however_the_registry_answers(
    habit: object, registry: RegistryServer, client: RegistryClient
) -> None:
    content = b"layer" * 1000
    registry.blobs[digest(content)] = content
    registry.habit = habit  # type: ignore[assignment]

    assert client.has_blob(digest(content), len(content))
    assert not client.has_blob(digest(b"other"), 5)


def test_half_a_blob_is_not_there_in_full(registry: RegistryServer, client: RegistryClient) -> None:
    registry.blobs[digest(b"layer")] = b"lay"

    assert not client.has_blob(digest(b"layer"), 5)


def test_a_registry_that_names_another_digest_than_that_of_what_it_sends_is_not_believed(
    registry: RegistryServer, client: RegistryClient
) -> None:
    registry.put_image("1", DAY, "latest")
    lie = {"Docker-Content-Digest": digest(b"something else")}
    registry.habit = lambda _method, _path, usual: replace(usual, headers={**usual.headers, **lie})

    with pytest.raises(ImageError, match="answered latest with other content than it says"):
        client.manifest("latest")


@pytest.mark.parametrize("body", [b"<html>Log in to the guest network</html>", b"[]", b"", b"\xff\xfe"])
def test_a_page_of_somebody_else_is_neither_a_manifest_nor_a_list_of_tags(
    body: bytes, registry: RegistryServer, client: RegistryClient
) -> None:
    registry.habit = lambda *_: Answer(200, body, {"Content-Type": "text/html"})

    with pytest.raises(ImageError, match="with something else"):
        client.manifest("latest")
    with pytest.raises(ImageError, match="with something else"):
        client.tags()


LINKS = [
    lambda path: path,
    lambda path: path.removeprefix("/v2/acme/banana/tags/"),
    lambda path: "?" + path.partition("?")[2],
    lambda path: f"http://elsewhere.invalid{path}",
]


@pytest.mark.parametrize("link", LINKS)
def test_every_page_of_tags_is_read_from_the_registry_itself_wherever_a_link_leads(
    link: object, registry: RegistryServer, client: RegistryClient
) -> None:
    registry.put_image("1", DAY, *(f"tag-{number}" for number in range(7)))
    registry.page, registry.link = 2, link  # type: ignore[assignment]

    assert sorted(client.tags()) == sorted(registry.tags)


def test_a_list_of_tags_whose_next_page_is_not_found_is_not_taken_for_whole(
    registry: RegistryServer, client: RegistryClient
) -> None:
    registry.put_image("1", DAY, "a", "b", "c")
    registry.page = 2
    registry.habit = lambda _method, path, usual: Answer(404) if registry.asked["GET tags"] == 2 else usual

    with pytest.raises(ImageError, match="answered the list of tags of acme/banana with something else"):
        client.tags()


def test_a_list_of_tags_that_leads_back_to_itself_is_broken_off(
    registry: RegistryServer, client: RegistryClient
) -> None:
    registry.put_image("1", DAY, "a", "b", "c")
    registry.page, registry.link = 1, lambda _: "/v2/acme/banana/tags/list?n=1000"

    with pytest.raises(ImageError, match="goes round in circles"):
        client.tags()


def test_a_login_does_not_follow_a_redirect_to_another_host(registry: RegistryServer) -> None:
    content = b"layer"
    with serving(RegistryServer(blobs={digest(content): content})) as storage:
        # Another name of the same machine is another host.
        there = f"http://localhost:{storage.host.partition(':')[2]}/v2/acme/banana/blobs/{digest(content)}"
        registry.habit = lambda *_: (
            Answer(307, b"", {"Location": there})
            if registry.authorizations[-1]
            else Answer(401, b"", {"WWW-Authenticate": 'Basic realm="here"'})
        )
        repository = Repository.parse(f"{registry.host}/acme/banana")
        with closing(RegistryClient(repository, Credentials("banana", "right"), Retries(1), quiet)) as client:
            assert client.blob(digest(content)) == content

        assert registry.authorizations[-1].startswith("Basic ")
        assert storage.authorizations == [""]


def busy(registry: RegistryServer, answers: list[Answer]) -> None:
    registry.habit = lambda _method, _path, usual: answers.pop(0) if answers else usual


@pytest.mark.parametrize("status", [429, 503])
def test_a_registry_that_asks_to_be_left_alone_is_left_alone_for_so_long(status: int, registry: RegistryServer) -> None:
    clock = HandClock()
    busy(registry, [Answer(status, b"{}", {"Retry-After": "40"})])
    repository = Repository.parse(f"{registry.host}/acme/banana")
    retries = Retries(attempts=2, first_wait=1.0, clock=clock)
    with closing(RegistryClient(repository, Credentials(), retries, quiet)) as client:
        assert client.tags() == []

    assert clock.slept == [40.0]


def test_a_registry_that_asks_for_hours_is_named_at_once(registry: RegistryServer) -> None:
    busy(registry, [Answer(429, json.dumps({"errors": []}).encode(), {"Retry-After": "21600"})] * 9)
    repository = Repository.parse(f"{registry.host}/acme/banana")
    with (
        closing(RegistryClient(repository, Credentials(), Retries(), quiet)) as client,
        pytest.raises(ImageError, match=r"too many requests.*asks to be left alone for 21600 s"),
    ):
        client.tags()

    assert registry.asked.total() == 1


@pytest.mark.parametrize("absolute", [False, True])
def test_a_blob_is_sent_where_the_registry_says_and_its_state_arrives_as_it_was(
    absolute: bool, registry: RegistryServer, client: RegistryClient
) -> None:
    registry.upload_host = f"http://{registry.host}" if absolute else ""

    client.put_blob(b"bill")
    client.put_blob(b"bill")

    assert registry.blobs[digest(b"bill")] == b"bill"
    assert registry.asked["PUT blobs"] == 1


def test_a_blob_is_not_sent_to_a_stranger(registry: RegistryServer, client: RegistryClient) -> None:
    registry.upload_host = "https://elsewhere.example"

    with pytest.raises(ImageError, match=r"sent to elsewhere\.example"):
        client.put_blob(b"bill")

    assert registry.asked["PUT blobs"] == 0


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_what_is_sent_follows_no_redirect(method: str, registry: RegistryServer, client: RegistryClient) -> None:
    with serving(RegistryServer()) as stranger:
        there = f"http://localhost:{stranger.host.partition(':')[2]}/v2/acme/banana/blobs/uploads/1?_state=a%2Bb%3D"
        registry.habit = lambda asked, _path, usual: Answer(307, b"", {"Location": there}) if asked == method else usual

        with pytest.raises(ImageError, match=r"sends its clients to http://localhost.*nothing was sent there"):
            client.put_blob(b"model")

        assert stranger.asked.total() == 0


@pytest.mark.parametrize("status", [400, 403, 404])
def test_an_issuer_that_knows_only_the_releases_gives_a_token_for_those(status: int, registry: RegistryServer) -> None:
    scopes: list[list[str]] = []

    def issues(_method: str, path: str, usual: Answer) -> Answer:
        if path.startswith("/token"):
            scopes.append(asked[-1])
            return Answer(status) if len(asked[-1]) > 1 else Answer(200, b'{"token": "t"}')
        challenge = f'Bearer realm="http://{registry.host}/token",service="s"'
        login = registry.authorizations[-1] == "Bearer t"
        return usual if login else Answer(401, b"", {"WWW-Authenticate": challenge})

    asked: list[list[str]] = []
    answer = registry.answer

    def listens(method: str, url: str, headers: dict[str, str], content: bytes) -> Answer:
        asked.append(parse_qs(urlsplit(url).query).get("scope", []))
        return answer(method, url, headers, content)

    registry.answer = listens  # type: ignore[method-assign]
    registry.habit = issues
    repository = Repository.parse(f"{registry.host}/acme/banana")
    reads = ("acme/banana-runtime",)
    with closing(RegistryClient(repository, Credentials("u", "p"), Retries(1), quiet, reads=reads)) as client:
        assert client.tags() == []

    assert [len(one) for one in scopes] == [2, 1]
