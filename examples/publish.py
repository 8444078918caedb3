"""Publishes a sample model to MLflow as a training pipeline does: ``python -m examples.publish better``."""

from __future__ import annotations

from typing import Annotated

import typer

from banana_delivery.model_registry.publish import MODEL_NAME, publish
from banana_delivery.sample_data.models import sample_run
from examples.train import RECIPES

app = typer.Typer(add_completion=False)


@app.command()
def main(
    sample: Annotated[str, typer.Argument(help=f"One of {', '.join(RECIPES)}.")],
    alias: Annotated[str | None, typer.Option(help="Mark the version by this alias instead of by stage.")] = None,
    model_name: Annotated[str, typer.Option(help="Registered model.")] = MODEL_NAME,
    tracking_uri: Annotated[str | None, typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow server.")] = None,
) -> None:
    """Publish a sample model to MLflow and stage it."""
    if sample not in RECIPES:
        raise typer.BadParameter(f"There is no sample {sample!r}: choose one of {', '.join(RECIPES)}.")
    checkpoint, metrics, params = sample_run(sample)
    stage = "Staging" if alias is None else None
    version = publish(
        checkpoint,
        model_name=model_name,
        metrics=metrics,
        params=params,
        stage=stage,
        alias=alias,
        tracking_uri=tracking_uri,
    )
    print(f"{model_name} version {version} holds the {sample} sample and is staged.")


if __name__ == "__main__":
    app()
