"""Moving images between an engine and one repository, trying again what failed for a reason that passes.

What an engine says while it pushes or pulls, in few lines that a person can follow.
"""

from __future__ import annotations

from dataclasses import dataclass

from banana_delivery.errors import ImageError
from banana_delivery.images.base import Progress
from banana_delivery.images.docker.credentials import Credentials
from banana_delivery.images.docker.engine import Engine, PushProgress
from banana_delivery.waiting import Retries


@dataclass(frozen=True)
class Transfer:
    """Pushes to and pulls from one repository.

    Attributes:
        engine: has the images.
        repository: full name.
        credentials: our login there.
        retries: how often to try.
    """

    engine: Engine
    repository: str
    credentials: Credentials
    retries: Retries

    def push(self, image: str, tag: str, progress: Progress, seen: PushProgress) -> str:
        """Push an image under a tag and return its digest; a name that could not be pushed is taken back.

        Args:
            image: its id in the engine.
            tag: its name in the repository.
            progress: told what happens.
            seen: sums up over all tries which layers had to be sent.

        Raises:
            ImageError: if the last try failed too, or trying again cannot help.
        """
        self.engine.tag(image, self.repository, tag)
        try:
            return self.retries.call(
                lambda: self.engine.push(f"{self.repository}:{tag}", self.credentials, progress, seen), progress
            )
        except ImageError:
            self._take_back(f"{self.repository}:{tag}")
            raise

    def pull(self, pinned: str, progress: Progress) -> None:
        """Make sure that the engine has an image, by digest.

        Raises:
            ImageError: if the last try failed too, or trying again cannot help.
        """
        self.retries.call(lambda: self.engine.pull(pinned, self.credentials, progress), progress)

    def _take_back(self, name: str) -> None:
        try:
            self.engine.remove(name)
        except ImageError:
            return  # The engine is gone too: the name stays in it, published nowhere, and the next build takes it over.
