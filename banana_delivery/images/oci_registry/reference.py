"""Taking the name of a repository apart, by the rules that Docker uses."""

from __future__ import annotations

from dataclasses import dataclass

from banana_delivery.errors import ImageError

DOCKER_HUB = "docker.io"
LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")


@dataclass(frozen=True)
class Repository:
    """A repository in a registry.

    Attributes:
        host: registry with its port, as Docker names it.
        path: name inside the registry.
    """

    host: str
    path: str

    @classmethod
    def parse(cls, name: str) -> Repository:
        """Take ``[host[:port]/]path`` apart.

        Raises:
            ImageError: if the name carries a tag or digest, or is empty.
        """
        first, _, rest = name.partition("/")
        is_host = bool(rest) and ("." in first or ":" in first or first == "localhost")
        host, path = (first, rest) if is_host else (DOCKER_HUB, name if rest else f"library/{name}")
        if not name or ":" in path or "@" in path or path != path.lower():
            raise ImageError(
                f"{name!r} is no repository; set BANANA_REGISTRY_REPOSITORY to host/path in lower case, without a tag."
            )
        return cls(host, path)

    @classmethod
    def of_image(cls, image: str) -> Repository:
        """The repository of an image that is named with a tag, a digest or neither."""
        name = image.partition("@")[0]
        before, colon, tag = name.rpartition(":")
        return cls.parse(before if colon and "/" not in tag else name)

    @property
    def name(self) -> str:
        """The full name, as images are pulled by it."""
        return f"{self.host}/{self.path}"

    @property
    def url(self) -> str:
        """Where its API answers; plain HTTP for a registry on this host only, as engines do it."""
        host = "registry-1.docker.io" if self.host == DOCKER_HUB else self.host
        plain = self.host.rsplit(":", 1)[0] in LOOPBACK
        return f"{'http' if plain else 'https'}://{host}/v2/{self.path}"
