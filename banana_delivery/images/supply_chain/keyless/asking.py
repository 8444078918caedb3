"""One question to an authority, bounded in time and size."""

from __future__ import annotations

from functools import cache
from ssl import SSLContext

import httpx

from banana_delivery.errors import ImageError, PassingError
from banana_delivery.images.oci_registry.reference import LOOPBACK
from banana_delivery.quoting import cited
from banana_delivery.waiting import Deadline, retry_after

ANSWER_SECONDS = 10.0
"""An answer needs some milliseconds; whoever takes longer is asked again."""
_MOST_BYTES = 256 * 2**10
"""Of an answer: a chain of certificates is a fiftieth of it."""


def post(url: str, body: bytes, headers: dict[str, str], what: str) -> bytes:
    """The body of the answer.

    Args:
        url: where.
        body: the question.
        headers: what it is.
        what: is being done, for the sentence of an error.

    Raises:
        PassingError: if nobody answers, not completely in time, or with an error of his own.
        ImageError: if it is refused.
    """
    deadline, content = Deadline(ANSWER_SECONDS), bytearray()
    try:
        # On this machine nothing is encrypted, and no proxy of the environment is to read along.
        proxies = httpx.URL(url).host not in LOOPBACK
        with (
            httpx.Client(
                timeout=ANSWER_SECONDS, verify=_trusted(), follow_redirects=False, trust_env=proxies
            ) as client,
            client.stream("POST", url, content=body, headers=headers) as answer,
        ):
            for piece in answer.iter_bytes():
                content += piece
                if len(content) > _MOST_BYTES:
                    raise ImageError(f"{url} sends more than {_MOST_BYTES:,} bytes while {what}.")
                if deadline.passed:
                    raise PassingError(f"{url} took more than {ANSWER_SECONDS:g} s to answer while {what}.")
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        why = str(error) or type(error).__name__
        raise PassingError(f"{url} failed while {what} ({why}); see whether it runs and can be reached.") from None
    code = answer.status_code
    if answer.is_success:
        return bytes(content)
    said = f"HTTP {code}: {cited(content.decode(errors='replace'))}"
    if code == httpx.codes.TOO_MANY_REQUESTS or answer.is_server_error:
        passing = PassingError(f"{url} failed while {what} ({said}).")
        passing.pause = retry_after(answer.headers)
        raise passing
    raise ImageError(f"{url} refused while {what} ({said}).")


@cache
def _trusted() -> SSLContext:
    return httpx.create_ssl_context()
