"""Waiting until Dagster's database answers and is of this version's form, for as long as that can help.

A container that is started again reads its Secrets anew. So what they may say wrong is not waited for without end: who
is refused waits for a minute, whatever else there is for half an hour.
"""

from __future__ import annotations

import logging
import re
import threading
from concurrent.futures import Future

from banana_delivery.errors import DagsterError
from banana_delivery.runs.schema.migration import JOB, LOOK_SECONDS, Form, Storage, version
from banana_delivery.waiting import SYSTEM_CLOCK, Clock, Deadline

LOG = logging.getLogger(__name__)
SAY_SECONDS = 60.0
ANSWER_SECONDS = 120.0
"""For a look, with its six tries. Who waits for a server that is lost in the middle of one would else wait hours."""
REFUSED_SECONDS = 60.0
"""A server that is made just now may refuse its first users for so long."""
PATIENCE_SECONDS = 1680.0
"""Less than the half hour of the startup probes (k8s/base/dagster), which say nothing to who waits."""
AGAIN = "this container ends, and reads its Secrets anew as it is started again."
REFUSED = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|not permitted to log in|permission denied"
    r'|(role|user|database) "[^"]*" does not exist|no such (user|database)'
    r"|does not support SSL|certificate|invalid sslmode",
    re.IGNORECASE,
)
"""What servers, PgBouncer and libpq say to whom they do not know, or who does not trust them. PostgreSQL says it in the
language of its ``lc_messages``, and libpq hands no code on: in another one it is as if nobody answered."""


def is_refused(why: str) -> bool:
    """Whether waiting alone does not help: somebody answers, and lets nobody in who says what we say."""
    return bool(REFUSED.search(why))


def wait_until_forward(storage: Storage, clock: Clock = SYSTEM_CLOCK) -> None:
    """Return once the database is of this version's form or a newer one, and say meanwhile what is waited for.

    Raises:
        DagsterError: if it is no matter of waiting, or was waited for long enough.
    """
    said, since = "", 0.0
    patience, refused = Deadline(PATIENCE_SECONDS, clock), None
    while True:
        try:
            found = _look(storage)
            if found in {Form.OURS, Form.NEWER}:
                return
            refused = None
            why = (
                f"{storage.name} {found.value}. Job {JOB} brings it to that of Dagster {version()}, and this pod "
                'waits for it. If it fails, or there is none: docs/kubernetes.md, "Another version".'
            )
        except DagsterError as error:
            refused = (refused or Deadline(REFUSED_SECONDS, clock)) if is_refused(str(error)) else None
            why = f"{error}. It is waited for."
        if refused and refused.passed:
            raise DagsterError(
                f"{why} No longer, since nobody is let in by that: mend Secret dagster-postgres; {AGAIN}"
            )
        if patience.passed:
            raise DagsterError(f"{why} That was for {PATIENCE_SECONDS / 60:.0f} minutes; {AGAIN}")
        if why != said or clock.monotonic() - since >= SAY_SECONDS:
            LOG.info("%s", why)
            said, since = why, clock.monotonic()
        clock.sleep(LOOK_SECONDS)


def _look(storage: Storage) -> Form:
    """How the database stands, asked by a thread: one that a server keeps is left to it, and a signal ends us at once.

    Raises:
        DagsterError: if it cannot be asked, or does not answer.
    """
    answer = Future[Form]()

    def ask() -> None:
        try:
            answer.set_result(storage.form())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            answer.set_exception(error)

    threading.Thread(target=ask, name="look", daemon=True).start()
    try:
        return answer.result(ANSWER_SECONDS)
    except TimeoutError as late:
        raise DagsterError(f"{storage.name} does not answer within {ANSWER_SECONDS:.0f} s") from late
