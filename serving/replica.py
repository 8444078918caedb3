"""One replica: the model, the pool that runs it, and what it reports; everything the routes need."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from serving.errors import ConfigurationError, not_ready
from serving.faults import FaultSwitch, parse_fault
from serving.http.annotate import annotated_jpeg
from serving.http.body.upload import UploadReader
from serving.inference.cpu import integer_instructions, usable_cpus
from serving.inference.engine import ENGINE
from serving.inference.loading import LoadedModel, load_model
from serving.inference.model import read_version
from serving.inference.pool import WorkPool
from serving.inference.predictor import Prediction
from serving.lifecycle import Lifecycle, State
from serving.metrics import Metrics
from serving.prediction_log.log import PredictionLog, PredictionRecord, PredictionStore, as_json
from serving.settings import Settings

logger = logging.getLogger("serving")

OpenStore = Callable[[Mapping[str, str]], PredictionStore]


@dataclass(slots=True)
class Replica:
    """The state of this process."""

    settings: Settings
    pool: WorkPool
    uploads: UploadReader
    faults: FaultSwitch
    open_store: OpenStore | None
    metrics: Metrics = field(default_factory=Metrics)
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    identity: dict[str, str] = field(default_factory=dict)
    _model: LoadedModel | None = None
    _log: PredictionLog | None = None

    @classmethod
    def build(cls, settings: Settings) -> "Replica":
        """Builds an unready replica.

        Raises:
            ConfigurationError: if FAULT or DATABASE_URL cannot be understood.
        """
        fault = parse_fault(settings.fault)
        if fault is not None:
            logger.warning("FAULT IS ON: /predict will be broken on purpose: %s", fault)
        replica = cls(
            settings=settings,
            pool=WorkPool(settings.inference_workers or usable_cpus(), settings.queue_size),
            uploads=UploadReader(settings.max_upload_bytes, settings.max_buffered_bytes, settings.upload_seconds),
            faults=FaultSwitch(fault, settings.environment),
            open_store=store_opener(settings.database_url),
        )
        replica.metrics.watch_queue(lambda: replica.pool.waiting)
        replica._identify("unknown")
        return replica

    def load(self) -> None:
        """Loads, checks and warms the model; then the replica is ready, or refuses to be, with the reason."""
        try:
            self._load()
        except ConfigurationError as error:
            logger.error("Not serving: %s", error)  # noqa: TRY400 - the sentence says it all
            self.lifecycle.refuse(str(error))
        except Exception as error:
            # Raised, it would end the process, and whoever asks why would find a connection refused.
            logger.exception("Not serving.")
            self.lifecycle.refuse(f"The model cannot be loaded: {error!r}; the log says where.")

    @property
    def model(self) -> LoadedModel:
        """The model being served.

        Raises:
            RequestError: 503, if there is none (yet).
        """
        if self._model is None or not self.lifecycle.can_predict:
            raise not_ready(self.lifecycle.message)
        return self._model

    def describe(self) -> dict[str, object]:
        """Returns version.json with the image's digest and what runs it."""
        model = self.model
        device = model.predictor.network.device
        return model.version.model_dump() | {
            "digest": self.settings.image_digest,
            "environment": self.settings.environment,
            "colour": self.settings.colour,
            "engine": ENGINE,
            "device": device.name,
            "device_reason": device.reason,
            "integer_instructions": integer_instructions(),
        }

    def check_ready(self) -> None:
        """Tells whether requests may be sent.

        Raises:
            RequestError: 503, with the reason.
        """
        if self.lifecycle.state is not State.READY:
            raise not_ready(self.lifecycle.message)
        stuck = self.pool.stuck_seconds
        if stuck > self.settings.stuck_seconds:
            raise not_ready(f"No image has been finished for {stuck:.0f} seconds, and every worker is busy.")

    def check_room(self) -> None:
        """Refuses a request early, before its body is read.

        Raises:
            RequestError: 503, if the replica is not ready or its queue is full.
        """
        if self.model:
            self.pool.check_room()

    def start(self, images: list[bytes], confidence: float, max_detections: int) -> list[asyncio.Future[Prediction]]:
        """Puts images into the pool, all or none.

        Raises:
            RequestError: 503, if the replica is not ready or its queue is full.
        """
        predictor = self.model.predictor
        return self.pool.submit([partial(predictor.predict, data, confidence, max_detections) for data in images])

    async def draw(self, image: bytes, confidence: float, max_detections: int) -> tuple[Prediction, bytes]:
        """Predicts and draws what was found, as a JPEG.

        Raises:
            RequestError: as `start` does, or if the bytes are not an acceptable image.
        """
        model = self.model

        def work() -> tuple[Prediction, bytes]:
            prediction = model.predictor.predict(image, confidence, max_detections)
            limit = self.settings.max_image_pixels
            return prediction, annotated_jpeg(image, prediction.boxes, model.version.classes, limit)

        [future] = self.pool.submit([work])
        return await future

    def record(self, request_id: str, traffic: str, prediction: Prediction) -> None:
        """Counts a prediction, and hands it to the prediction log if there is one."""
        self.metrics.inference.observe(prediction.seconds)
        if self._log is not None:
            self._log.append(partial(_record_of, request_id, traffic, prediction))

    def close(self) -> None:
        """Ends the pool once its work is done, and writes the rest of the log."""
        self.pool.close()
        if self._model is not None:
            self._model.predictor.network.close()
        if self._log is not None:
            self._log.close()

    def _load(self) -> None:
        settings = self.settings
        version = read_version(settings.model_path)
        self._identify(version.version)
        model = load_model(settings, version)
        self._log = self._open_log(version.version)
        self.pool.run_on_every_worker(model.predictor.warm)
        # Whatever failed until here is an image that the CPU answers; from here on it is a replica that has to end.
        model.predictor.network.on_loss = self._lose
        self._model = model
        self.metrics.describe_model(version.version, settings.image_digest, settings.environment, settings.colour)
        device = model.predictor.network.device
        self.metrics.describe_device(device.name)
        self.lifecycle.become_ready()
        level = logging.WARNING if device.fell_back else logging.INFO
        logger.log(level, "Serving %s version %s. %s", version.model_name, version.version, device.reason)

    def _lose(self, reason: str) -> None:
        """The GPU failed under load: users are sent elsewhere, and a new process finds out what is left of it."""
        if not self.lifecycle.is_lost:
            logger.error("%s This replica ends, to be started again.", reason)
            self.metrics.describe_device("cpu")
            self.lifecycle.lose(reason)

    def _open_log(self, version: str) -> PredictionLog | None:
        settings = self.settings
        if self.open_store is None:
            return None
        labels = {
            "model_version": version,
            "digest": settings.image_digest,
            "environment": settings.environment,
            "colour": settings.colour,
        }
        return PredictionLog(
            self.open_store(labels),
            capacity=settings.prediction_log_capacity,
            retention=timedelta(days=settings.prediction_log_retention_days),
            on_drop=self.metrics.log_dropped.inc,
        )

    def _identify(self, version: str) -> None:
        self.identity.update(
            {
                "X-Model-Version": version,
                "X-Image-Digest": self.settings.image_digest,
                "X-Colour": self.settings.colour,
                "X-Environment": self.settings.environment,
            }
        )


def _record_of(request_id: str, traffic: str, prediction: Prediction) -> PredictionRecord:
    return PredictionRecord(
        request_id=request_id,
        at=datetime.now(UTC),
        traffic=traffic,
        width=prediction.width,
        height=prediction.height,
        detections=as_json(prediction.boxes),
        seconds=prediction.seconds,
    )


def store_opener(database_url: str) -> OpenStore | None:
    """Returns what opens the prediction log's store, given the columns that never change; None without a database.

    Raises:
        ConfigurationError: if the URL is not that of a supported database.
    """
    if not database_url:
        return None
    # SQLAlchemy takes a third of the start-up time, so only a replica that logs pays for it.
    from serving.prediction_log.store import SqlPredictionStore, connect

    engine = connect(database_url)
    return lambda labels: SqlPredictionStore(engine, labels)
