"""The part of the OCI distribution API that delivering needs: manifests, tags and small blobs of one repository.

The engine pushes and pulls; it cannot look an image up by tag, move a tag without pulling, or delete.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import httpx

from banana_delivery.errors import ImageError, PassingError
from banana_delivery.files import bytes_digest
from banana_delivery.images.base import Progress
from banana_delivery.images.docker.credentials import Credentials
from banana_delivery.images.docker.errors import failure
from banana_delivery.images.oci_registry.auth import authorization
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.waiting import Retries

MANIFEST_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)
_TAGS_PER_PAGE = 1000
_ANSWERS = {
    "GET": (httpx.codes.NOT_FOUND,),
    "HEAD": (httpx.codes.NOT_FOUND,),
    "DELETE": (httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED),
}
"""Refusals that are an answer, by method."""


@dataclass(frozen=True)
class Manifest:
    """A manifest exactly as the registry has it.

    Attributes:
        digest: computed from ``body``, never believed.
        media_type: Docker's or OCI's.
        body: its bytes; putting them back gives the same digest.
    """

    digest: str
    media_type: str
    body: bytes

    @cached_property
    def document(self) -> dict[str, Any]:
        """The manifest as JSON."""
        document: dict[str, Any] = json.loads(self.body)
        return document

    @property
    def layers(self) -> list[tuple[str, int]]:
        """Digest and size of each layer as stored, bottom first."""
        return [(layer["digest"], layer["size"]) for layer in self.document["layers"]]

    @property
    def blobs(self) -> dict[str, int]:
        """Size of everything that the image consists of, by digest; the manifest itself included."""
        config = self.document["config"]
        return {self.digest: len(self.body), config["digest"]: config["size"], **dict(self.layers)}


class RegistryClient:
    """One repository of a registry.

    Args:
        repository: which one.
        credentials: our login.
        retries: for failures that pass.
        progress: told about each retry.
        timeout: seconds that one request may take.
    """

    def __init__(
        self,
        repository: Repository,
        credentials: Credentials,
        retries: Retries,
        progress: Progress,
        timeout: float = 30.0,
    ) -> None:
        self._repository = repository
        self._credentials = credentials
        self._retries = retries
        self._progress = progress
        self._http = httpx.Client(timeout=timeout, follow_redirects=True)
        self._authorization: str | None = None

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def manifest(self, reference: str) -> Manifest | None:
        """The manifest behind a tag or digest; None if there is none.

        Raises:
            ImageError: if the registry cannot be reached, refuses, or answers with other bytes than asked for.
        """
        answer = self._call("GET", f"manifests/{reference}", headers={"Accept": ", ".join(MANIFEST_TYPES)})
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        digest = bytes_digest(answer.content)
        if reference.startswith("sha256:") and digest != reference:
            raise ImageError(
                f"{self._repository.host} answered {reference} with other content ({digest}); trust it no more."
            )
        return Manifest(digest, answer.headers["Content-Type"], answer.content)

    def put_manifest(self, tag: str, manifest: Manifest) -> None:
        """Make a tag point at a manifest."""
        self._call("PUT", f"manifests/{tag}", headers={"Content-Type": manifest.media_type}, content=manifest.body)

    def delete_manifest(self, digest: str) -> None:
        """Remove an image and every tag that points at it; removing what is gone is fine.

        Raises:
            ImageError: if the registry does not allow deletes.
        """
        answer = self._call("DELETE", f"manifests/{digest}")
        if answer.status_code == httpx.codes.METHOD_NOT_ALLOWED:
            raise ImageError(
                f"The registry {self._repository.host} does not allow deletes, so old images stay; "
                "allow them there, or let its own retention remove them."
            )

    def digest_of(self, tag: str) -> str | None:
        """What a tag points at, without fetching it."""
        answer = self._call("HEAD", f"manifests/{tag}", headers={"Accept": ", ".join(MANIFEST_TYPES)})
        return None if answer.status_code == httpx.codes.NOT_FOUND else answer.headers["Docker-Content-Digest"]

    def tags(self) -> list[str]:
        """Every tag of the repository; none if there is no such repository."""
        found: list[str] = []
        for page in self._tag_pages():
            found += page
        return found

    def has_blob(self, digest: str, size: int) -> bool:
        """Whether a blob is there in full."""
        answer = self._call("HEAD", f"blobs/{digest}")
        return answer.status_code == httpx.codes.OK and int(answer.headers.get("Content-Length", size)) == size

    def blob(self, digest: str) -> bytes:
        """A blob's content, verified against its digest.

        Raises:
            ImageError: if it is missing or altered.
        """
        content = self._call("GET", f"blobs/{digest}").content
        if bytes_digest(content) != digest:
            raise ImageError(
                f"{digest} is missing from {self._repository.name} or was altered; build that version again."
            )
        return content

    def _tag_pages(self) -> Iterator[list[str]]:
        path: str | None = f"tags/list?n={_TAGS_PER_PAGE}"
        while path:
            answer = self._call("GET", path)
            if answer.status_code == httpx.codes.NOT_FOUND:
                return
            yield answer.json()["tags"] or []
            following = answer.links.get("next", {}).get("url")
            path = f"tags/list?{httpx.URL(following).query.decode()}" if following else None

    def _call(
        self, method: str, path: str, headers: dict[str, str] | None = None, content: bytes | None = None
    ) -> httpx.Response:
        return self._retries.call(lambda: self._once(method, path, headers or {}, content), self._progress)

    def _once(self, method: str, path: str, headers: dict[str, str], content: bytes | None) -> httpx.Response:
        what = f"asking for {path}" if method in ("GET", "HEAD") else f"changing {path}"
        try:
            answer = self._send(method, path, headers, content)
            if answer.status_code == httpx.codes.UNAUTHORIZED and "WWW-Authenticate" in answer.headers:
                self._authorization = authorization(
                    self._http, answer.headers["WWW-Authenticate"], self._credentials, self._repository.path
                )
                answer = self._send(method, path, headers, content)
        except httpx.HTTPStatusError as error:
            raise failure(what, self._repository.host, _said(error.response)) from error
        except httpx.HTTPError as error:
            raise PassingError(
                f"{self._repository.host} does not answer while {what} ({error}); see whether it runs and is reachable."
            ) from error
        if answer.is_success or answer.status_code in _ANSWERS.get(method, ()):
            return answer
        raise failure(what, self._repository.host, _said(answer))

    def _send(self, method: str, path: str, headers: dict[str, str], content: bytes | None) -> httpx.Response:
        login = {"Authorization": self._authorization} if self._authorization else {}
        return self._http.request(
            method, f"{self._repository.url}/{path}", headers={**headers, **login}, content=content
        )


def _said(answer: httpx.Response) -> str:
    code = answer.status_code
    if code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return f"HTTP {code}: denied"
    if code == httpx.codes.TOO_MANY_REQUESTS or code >= httpx.codes.INTERNAL_SERVER_ERROR:
        return f"unexpected http status: {code} {answer.text[:200]}" if code >= 500 else "too many requests"
    return f"HTTP {code}: {answer.text[:200]}"
