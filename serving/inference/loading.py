"""From MODEL_PATH to something that predicts, with every check on the way."""

from dataclasses import dataclass

from serving.inference.engine import Engine
from serving.inference.model import ModelVersion, verified_bytes
from serving.inference.predictor import Predictor
from serving.settings import Settings


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that passed every check, ready to predict."""

    version: ModelVersion
    predictor: Predictor


def load_model(settings: Settings, version: ModelVersion) -> LoadedModel:
    """Verifies and loads the model that `version` describes.

    Raises:
        ConfigurationError: if the file is not the promised one, or not a detector of the promised shape.
    """
    engine = Engine(
        verified_bytes(settings.model_path, version.onnx_sha256),
        classes=len(version.classes),
        frame=version.takes,
        threads=settings.inference_threads,
    )
    return LoadedModel(version, Predictor(engine, settings.max_image_pixels))
