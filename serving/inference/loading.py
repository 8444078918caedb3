"""From MODEL_PATH to something that predicts, with every check on the way."""

from dataclasses import dataclass
from pathlib import Path

from serving.inference.engine import Engine
from serving.inference.model import ModelVersion, verified_bytes
from serving.inference.predictor import Predictor
from serving.settings import Settings

SAMPLE = Path(__file__).parents[1] / "samples" / "leaf.jpg"
"""What a GPU and the CPU are both asked."""


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
    onnx = verified_bytes(settings.model_path, version.onnx_sha256)
    engine = Engine(
        onnx,
        classes=len(version.classes),
        frame=version.takes,
        threads=settings.inference_threads,
    )
    predictor = Predictor(engine, settings.max_image_pixels)
    predictor.try_cuda(onnx, SAMPLE.read_bytes())
    return LoadedModel(version, predictor)
