"""The part of the OCI distribution API that delivering needs: manifests, tags and blobs of one repository.

An engine pushes and pulls; it cannot look an image up by tag, move a tag without pulling, or delete.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection, Iterator
from functools import cache
from io import BytesIO
from typing import BinaryIO

import httpx

from banana_delivery.errors import ImageError, PassingError, redacted
from banana_delivery.images.base import Progress
from banana_delivery.images.docker.credentials import Credentials
from banana_delivery.images.docker.errors import failure
from banana_delivery.images.oci_registry import blobs
from banana_delivery.images.oci_registry.auth import EVERYTHING, authorization
from banana_delivery.images.oci_registry.manifest import DIGEST, INDEX_TYPES, MANIFEST_TYPES, Manifest
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.waiting import HeardClock, Retries, retry_after

_TAGS_PER_PAGE = 1000
_SLOWEST_COMMIT = httpx.Timeout(30.0, read=300.0)
"""Seconds: what was sent is compared and moved before it is acknowledged, in a bucket for example. For what is
deleted all tags are looked at; Docker's registry stops in the middle of that if nobody listens any more, and leaves
tags that lead to nothing."""
MOST_BYTES = 64 * 2**20
"""Of an answer, unless more is asked for: manifests, configs and lists are far smaller. Whoever may push can put
anything there, and say any size of it."""
NOTHING = -1
"""So much of a body is wanted where its headers say enough."""
_NOT_HERE = (httpx.codes.METHOD_NOT_ALLOWED, httpx.codes.NOT_IMPLEMENTED)
_ANSWERS = {
    "GET": (httpx.codes.NOT_FOUND,),
    "HEAD": (httpx.codes.NOT_FOUND, *_NOT_HERE),
    "DELETE": (httpx.codes.NOT_FOUND, *_NOT_HERE),
}
"""Refusals that are an answer, by method."""
_OF_THE_TRANSFER = ("content-encoding", "content-length", "transfer-encoding")
"""Headers that say how a body came, and nothing of the body."""
_ACCEPTED = {"Accept": ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))}
_DIGEST_HEADER = "Docker-Content-Digest"
"""Registries should send it; several do not, or only for GET."""


class RegistryClient:
    """One repository of a registry.

    Args:
        repository: which one.
        credentials: our login.
        retries: for failures that pass.
        progress: told about each retry.
        timeout: seconds that one request may take.
        token_hosts: hosts that may issue tokens beside the registry's own.
        reads: paths of other repositories of the registry that blobs are taken over from.
        actions: what its login is asked for.
    """

    def __init__(
        self,
        repository: Repository,
        credentials: Credentials,
        retries: Retries,
        progress: Progress,
        timeout: float = 30.0,
        token_hosts: Collection[str] = (),
        reads: Collection[str] = (),
        actions: str = EVERYTHING,
    ) -> None:
        self._repository, self._credentials = repository, credentials
        self._token_hosts, self._reads, self._actions = tuple(token_hosts), tuple(reads), actions
        self._retries = retries
        self._progress = progress
        self._http = httpx.Client(timeout=timeout, follow_redirects=True, verify=_trusted())
        self._authorization: str | None = None
        self.time = HeardClock()
        self._root = str(httpx.URL(repository.url).copy_with(path="/"))

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    @property
    def name(self) -> str:
        """The repository's full name."""
        return self._repository.name

    @property
    def host(self) -> str:
        """The registry."""
        return self._repository.host

    def manifest(self, reference: str) -> Manifest | None:
        """The manifest behind a tag or digest, or the index over those of several platforms; None if there is none.

        Raises:
            ImageError: if the registry cannot be reached, refuses, or answers with other bytes than asked for.
        """
        answer = self.call("GET", f"manifests/{reference}", headers=_ACCEPTED)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        try:
            manifest = Manifest.of(answer.content, answer.headers.get("Content-Type", "").partition(";")[0])
        except ImageError as error:
            raise ImageError(
                f"{self._repository.host} answered the manifest {reference} with something else; see what answers "
                f"there, a proxy for example. {error}"
            ) from error
        said = [name for name in (reference, answer.headers.get(_DIGEST_HEADER, "")) if DIGEST.fullmatch(name)]
        if wrong := [name for name in said if name != manifest.digest]:
            raise ImageError(
                f"{self._repository.host} answered {reference} with other content than it says ({manifest.digest} "
                f"instead of {wrong[0]}); trust it no more."
            )
        return manifest

    def put_manifest(self, tag: str, manifest: Manifest) -> None:
        """Make a tag point at a manifest."""
        self.call("PUT", f"manifests/{tag}", headers={"Content-Type": manifest.media_type}, content=manifest.body)

    def put_blob(self, content: bytes) -> None:
        """Store a small content, unless it is there.

        Raises:
            ImageError: if the registry cannot be reached, refuses, or wants it sent to another host.
        """
        blob = blobs.described(content)
        # Where it does not say that it has it, sending the little once more costs less than asking in another way.
        if not self._says_it_has(blob.digest, blob.size, "HEAD"):
            blobs.upload(self, blob, BytesIO(content))

    def delete_manifest(self, digest: str) -> None:
        """Remove an image and every tag that points at it; removing what is gone is fine.

        Raises:
            ImageError: if the registry does not allow deletes.
        """
        answer = self.call("DELETE", f"manifests/{digest}")
        if answer.status_code in _NOT_HERE:
            raise ImageError(
                f"The registry {self._repository.host} does not allow deletes, so old images stay; "
                "allow them there, or let its own retention remove them."
            )

    def digest_of(self, tag: str) -> str | None:
        """What a tag points at, without fetching it where the registry can say so; None if there is no such tag."""
        answer = self.call("HEAD", f"manifests/{tag}", headers=_ACCEPTED)
        said = str(answer.headers.get(_DIGEST_HEADER, ""))
        if answer.is_success and DIGEST.fullmatch(said):
            return said
        manifest = self.manifest(tag)
        return manifest.digest if manifest else None

    def tags(self) -> list[str]:
        """Every tag of the repository; none if there is no such repository."""
        found: list[str] = []
        for page in self._tag_pages():
            found += page
        return found

    def has_blob(self, digest: str, size: int) -> bool:
        """Whether a blob is there in full; its beginning is fetched where the registry answers no shorter question."""
        return any(self._says_it_has(digest, size, method) for method in ("HEAD", "GET"))

    def _says_it_has(self, digest: str, size: int, method: str) -> bool:
        answer = self.call(method, f"blobs/{digest}", most=NOTHING)
        return answer.is_success and int(answer.headers.get("Content-Length", size)) == size

    def blob(self, digest: str, most: int = MOST_BYTES) -> bytes:
        """A blob's content, verified against its digest.

        Args:
            digest: which one.
            most: bytes that it may have; no more are read, whatever the registry says of it.

        Raises:
            ImageError: if it is missing, altered or larger.
        """
        if (content := blobs.found(self, digest, most)) is None:
            raise ImageError(
                f"{digest} is missing from {self._repository.name} or was altered; build that version again."
            )
        return content

    def _tag_pages(self) -> Iterator[list[str]]:
        """The pages of the list. Only the query of a link is followed, so that no login goes to another host."""
        path, asked = f"tags/list?n={_TAGS_PER_PAGE}", set[str]()
        while path not in asked:
            asked.add(path)
            answer = self.call("GET", path)
            if answer.status_code == httpx.codes.NOT_FOUND and len(asked) == 1:  # A list does not end in that.
                return
            try:
                yield list(answer.json()["tags"] or [])
            except (ValueError, KeyError, TypeError) as error:
                raise ImageError(
                    f"{self._repository.host} answered the list of tags of {self._repository.path} with something "
                    f"else ({answer.text[:80]!r}); see what answers there, a proxy for example."
                ) from error
            following = answer.links.get("next", {}).get("url")
            if not following:
                return
            path = f"tags/list?{httpx.URL(following).query.decode()}"
        raise ImageError(
            f"{self._repository.host} goes round in circles in the list of tags of {self._repository.path}."
        )

    def place_of(self, answer: httpx.Response) -> str:
        """Where an answer says that the next request of an upload goes; empty if it says nothing.

        Only the path and query are followed, so that neither a login nor a model goes to another host.

        Raises:
            ImageError: if it names another host.
        """
        told = answer.headers.get("Location", "")
        if not told:
            return ""
        root = httpx.URL(self._repository.url)
        place = answer.request.url.join(told)
        if httpx.URL(told).host and place.host != root.host:
            raise ImageError(
                f"{self._repository.host} wants blobs sent to {place.host}; see whether a proxy stands between."
            )
        return str(root.copy_with(path=place.path, query=place.query))

    def patiently(self, attempt: Callable[[], None]) -> None:
        """Try until it succeeds or the failure does not pass.

        Raises:
            ImageError: the last try's.
        """
        self._retries.call(attempt, self._progress)

    def call(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
        *,
        most: int = MOST_BYTES,
        answers: Collection[int] = (),
    ) -> httpx.Response:
        """What the registry answers to a request, asked again while it fails for a reason that passes.

        Args:
            method: of HTTP.
            path: in the repository, or an address that the registry named for an upload.
            headers: beside the login.
            content: the body.
            most: bytes of the answer's body; ``NOTHING``: none of it.
            answers: refusals that are an answer, beside those that always are.

        Raises:
            ImageError: if it cannot be reached, refuses, or answers more than that.
        """
        attempt = lambda: self.call_once(method, path, headers, content, most=most, answers=answers)  # noqa: E731
        return self._retries.call(attempt, self._progress)

    def call_once(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
        *,
        most: int = MOST_BYTES,
        answers: Collection[int] = (),
        into: BinaryIO | None = None,
    ) -> httpx.Response:
        """The same, asked once; ``into`` takes the body of a success in place of the answer."""
        named = "blobs/uploads" if path.startswith(self._root) else path
        what = f"asking for {named}" if method in ("GET", "HEAD") else f"changing {named}"
        try:
            answer = self._send(method, path, headers or {}, content, most, into)
            if answer.status_code == httpx.codes.UNAUTHORIZED and "WWW-Authenticate" in answer.headers:
                self._authorization = authorization(
                    self._http,
                    answer.headers["WWW-Authenticate"],
                    self._credentials,
                    self._repository.path,
                    self._repository.url,
                    self._token_hosts,
                    self._reads,
                    self._actions,
                )
                answer = self._send(method, path, headers or {}, content, most, into)
        except httpx.HTTPStatusError as error:
            raise self._failure(what, error.response) from error
        except httpx.HTTPError as error:
            raise PassingError(
                f"{self._repository.host} does not answer while {what} ({error}); see whether it runs and is reachable."
            ) from error
        if answer.is_success or answer.status_code in (*_ANSWERS.get(method, ()), *answers):
            return answer
        raise self._failure(what, answer)

    def _send(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        content: bytes | None,
        most: int,
        into: BinaryIO | None,
    ) -> httpx.Response:
        login = {"Authorization": self._authorization} if self._authorization else {}
        address = path if path.startswith(self._root) else f"{self._repository.url}/{path}"
        slow = self._http.timeout if content is None and method != "DELETE" else _SLOWEST_COMMIT
        request = self._http.build_request(method, address, headers={**headers, **login}, content=content, timeout=slow)
        # What is sent goes nowhere else, as a login does not: a redirect would take the body along.
        answer = self._http.send(request, follow_redirects=method in ("GET", "HEAD"), stream=True)
        self.time.hear({} if answer.history else answer.headers)  # The registry's own, and of no store of its blobs.
        try:
            if most == NOTHING and answer.is_success:
                return answer
            if not answer.is_success:
                return _read(answer, MOST_BYTES, self._repository.host)
            return _read(answer, most, self._repository.host, into)
        finally:
            answer.close()

    def _failure(self, what: str, answer: httpx.Response) -> ImageError:
        if answer.has_redirect_location and answer.request.method not in ("GET", "HEAD"):
            there = redacted(answer.headers["Location"])
            return ImageError(
                f"{self._repository.host} sends its clients to {there} while {what}; nothing was sent there. See "
                "whether a proxy stands between, or name that host in BANANA_REGISTRY_REPOSITORY."
            )
        if answer.request.method == "DELETE" and "DIGEST_INVALID" in answer.text:
            # Docker's registry reads what it keeps of an image while somebody's tag is half written.
            return PassingError(
                f"{self._repository.host} was at it already while {what}, or one of its tags is damaged; try again."
            )
        error = failure(what, self._repository.host, _said(answer))
        if isinstance(error, PassingError):
            error.pause = retry_after(answer.headers)
        return error


def _read(answer: httpx.Response, most: int, host: str, into: BinaryIO | None = None) -> httpx.Response:
    """The answer with its body, counted as it arrives; the body in a file if one is given.

    Raises:
        ImageError: if there is more of it.
    """
    content, size = into or BytesIO(), 0
    for piece in answer.iter_bytes():
        size += len(piece)
        if size > most:
            raise ImageError(
                f"{host} sends more than {most:,} bytes of {answer.request.url.path}, which has no reason to be so "
                "large; find out who put it there, and remove it."
            )
        content.write(piece)
    kept = [(name, value) for name, value in answer.headers.multi_items() if name.lower() not in _OF_THE_TRANSFER]
    body = content.getvalue() if isinstance(content, BytesIO) else b""
    return httpx.Response(answer.status_code, headers=kept, content=body, request=answer.request)


@cache
def _trusted() -> ssl.SSLContext:
    """Whose certificates count; reading them takes longer than most of what is asked, and a process asks often."""
    return httpx.create_ssl_context()


def _said(answer: httpx.Response) -> str:
    code = answer.status_code
    if code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return f"HTTP {code}: denied"
    if code == httpx.codes.TOO_MANY_REQUESTS or code >= httpx.codes.INTERNAL_SERVER_ERROR:
        return f"unexpected http status: {code} {answer.text[:200]}" if code >= 500 else "too many requests"
    return f"HTTP {code}: {answer.text[:200]}"
