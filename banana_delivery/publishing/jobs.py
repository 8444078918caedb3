"""Has an order carried out by a Job of its own, which shares one folder with the delivery."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from banana_delivery.errors import ImageError
from banana_delivery.files import last_line, read_plain
from banana_delivery.images.base import Progress
from banana_delivery.publishing.order import ANSWER_FILE, AT, FOLDER_PREFIX, LOG_FILE, ORDER_FILE, Done, Order
from banana_delivery.quoting import in_path, one_line
from banana_delivery.settings import Settings
from banana_delivery.targets.kubernetes.api import Json
from banana_delivery.targets.kubernetes.jobs.templates import START_SECONDS, JobKind, TemplateJobs, container_in, see

PUBLISH = JobKind(
    does="writes into the registry",
    container="publish",
    setting="BANANA_PUBLISHER_TEMPLATE",
    failure=ImageError,
)


class Patience(NamedTuple):
    """Seconds that a Job may take: until its pod runs, and from then on."""

    start: float
    work: float


PATIENT = Patience(START_SECONDS, 1800.0)
"""A model is sent again and again where the registry does not take it; an image is built in seconds."""
SHORT = Patience(120.0, 60.0)
"""For what people like to have while others wait for the environment."""
MOST_ANSWER = 2**20
"""Bytes; what is said of each step, and a digest for each image that was removed."""


@dataclass(frozen=True)
class PublisherJobs:
    """Carries orders out.

    Attributes:
        jobs: how a Job is made.
        home: where the volume is mounted here.
        folder: below it, for what is given to Jobs.
    """

    jobs: TemplateJobs
    home: Path
    folder: Path

    def do(self, order: Order, progress: Progress, files: Sequence[Path] = (), patience: Patience = PATIENT) -> Done:
        """Have an order carried out.

        Args:
            order: what to do.
            progress: told about each step, once all are done.
            files: what lies beside the order, by their own names.
            patience: how long it is waited for.

        Raises:
            ImageError: if it could not be carried out.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # What cannot be removed is tidied up with what runs that died have left.
            with tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX, dir=self.folder, ignore_cleanup_errors=True) as name:
                shared = Path(name)
                for file in files:
                    shutil.copy(file, shared / file.name)
                (shared / ORDER_FILE).write_text(order.model_dump_json())
                code = self.jobs.run(lambda pod: self._with(pod, shared), patience.work, progress, patience.start)
                done = _answer(shared, code)
        except OSError as error:
            raise ImageError(
                f"{self.folder} cannot be given to the Job that writes into the registry ({error.strerror or error}): "
                "look at the disk's free space and rights."
            ) from error
        for line in done.said:
            progress(one_line(line))
        return done

    def _with(self, pod: Json, shared: Path) -> Json:
        """Nothing but the folder: what runs there and as whom, the template says."""
        see(container_in(pod, PUBLISH), shared, self.home, AT)
        return pod


def publisher_jobs(settings: Settings) -> PublisherJobs:
    """What carries orders out, as the settings say; nobody is asked for anything yet."""
    folder = settings.home / "artifacts" / in_path(settings.model_name)
    return PublisherJobs(TemplateJobs(PUBLISH, settings.publisher_template), settings.home, folder)


def _answer(shared: Path, code: int) -> Done:
    """What the Job answered.

    Raises:
        ImageError: if it failed, or answered nonsense.
    """
    if code < 0:
        raise ImageError(
            f"The Job that writes into the registry was ended by signal {-code}, for want of memory, with its node or "
            "by somebody: try again."
        )
    if code:
        raise ImageError(
            f"The Job that writes into the registry failed with exit code {code}: {last_line(shared / LOG_FILE)}"
        )
    try:
        return Done.model_validate_json(read_plain(shared / ANSWER_FILE, MOST_ANSWER))
    except (OSError, ValueError) as nonsense:
        raise ImageError(
            "The Job that writes into the registry answered what it should not "
            f"({type(nonsense).__name__}): try again, and if it stays so, look at who changed its PodTemplate."
        ) from None
