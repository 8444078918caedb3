"""Three kinds of users: one connection a request, connections kept alive, and slow uploads.

The load is bounded in rate and time, goes to 127.0.0.1 alone, and remembers every single answer.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx

from tests.cluster.cluster import ROOT

IMAGE = (ROOT / "serving" / "samples" / "leaf.jpg").read_bytes()
LONGEST_SECONDS = 300.0
SHARES = {"new": 0.4, "kept": 0.4, "slow": 0.2}
"""Of each kind among all requests."""


@dataclass(frozen=True)
class Answer:
    """One request's fate.

    Attributes:
        kind: of the client.
        sent: when it began, on the monotonic clock.
        status: HTTP status; 0 if there was no answer.
        colour: who answered, or what went wrong.
        said: how an answer begins that is no prediction.
    """

    kind: str
    sent: float
    status: int
    colour: str
    said: str = ""


@dataclass
class Users:
    """Load in a thread of its own, within a ``with`` block; ``per_second``: requests."""

    url: str
    per_second: float = 50.0
    answers: list[Answer] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._drive()), name="users", daemon=True)
        self._thread.start()
        self._began = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=60)
        self.seconds = time.monotonic() - self._began

    @property
    def failures(self) -> list[Answer]:
        """Everything but a prediction."""
        return [answer for answer in list(self.answers) if answer.status != 200]

    def last_on(self, colour: str, kinds: Collection[str]) -> float:
        """When the last request of some kinds of clients was sent that a colour answered."""
        return max(answer.sent for answer in self.answers if answer.colour == colour and answer.kind in kinds)

    def more(self, count: int) -> None:
        """Wait until so many more requests have been answered."""
        enough = len(self.answers) + count
        deadline = time.monotonic() + 120
        while len(self.answers) < enough:
            assert time.monotonic() < deadline, "the load came to a halt"
            time.sleep(0.05)

    def summary(self) -> str:
        """One line."""
        kinds = Counter(answer.kind for answer in self.answers)
        colours = Counter(answer.colour for answer in self.answers)
        total, good = len(self.answers), len(self.answers) - len(self.failures)
        return (
            f"{total} requests in {self.seconds:.0f} s ({total / self.seconds:.0f}/s; {dict(kinds)}; {dict(colours)}), "
            f"success rate {good / max(total, 1):.6f}"
        )

    async def _drive(self) -> None:
        everlasting = httpx.Limits(max_keepalive_connections=20, keepalive_expiry=60)
        single = httpx.Limits(max_keepalive_connections=0)
        async with (
            httpx.AsyncClient(timeout=20, limits=single) as new,
            httpx.AsyncClient(timeout=20, limits=everlasting) as kept,
        ):
            clients = {"new": new, "kept": kept, "slow": new}
            async with asyncio.TaskGroup() as group:
                for kind, client in clients.items():
                    period = 1 / (self.per_second * SHARES[kind])
                    group.create_task(self._pace(kind, client, period, group))

    async def _pace(self, kind: str, client: httpx.AsyncClient, period: float, group: asyncio.TaskGroup) -> None:
        deadline = time.monotonic() + LONGEST_SECONDS
        due = time.monotonic()
        while not self._stop.is_set() and time.monotonic() < deadline:
            group.create_task(self._ask(kind, client))
            due = max(due + period, time.monotonic() - 1)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _ask(self, kind: str, client: httpx.AsyncClient) -> None:
        sent = time.monotonic()
        body, headers = _multipart()
        content = _slowly(body) if kind == "slow" else body
        try:
            answer = await client.post(f"{self.url}/predict", content=content, headers=headers)
            said = "" if answer.status_code == 200 else answer.text[:200]
            self.answers.append(Answer(kind, sent, answer.status_code, answer.headers.get("X-Colour", "nobody"), said))
        except httpx.HTTPError as error:
            self.answers.append(Answer(kind, sent, 0, repr(error)))


def _multipart() -> tuple[bytes, dict[str, str]]:
    request = httpx.Request("POST", "http://127.0.0.1", files={"image": ("leaf.jpg", IMAGE, "image/jpeg")})
    return request.read(), {name: request.headers[name] for name in ("content-type", "content-length")}


async def _slowly(body: bytes) -> AsyncIterator[bytes]:
    """A phone on a bad network: the body in five pieces, a fifth of a second apart."""
    size = len(body) // 5 + 1
    for start in range(0, len(body), size):
        await asyncio.sleep(0.2)
        yield body[start : start + size]
