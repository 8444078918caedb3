"""What the router, Prometheus and people ask a replica about itself."""

from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from serving.errors import not_here
from serving.http.schemas import ErrorResponse, ServedResponse, StatusResponse, VersionResponse
from serving.replica import Replica

_NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": ErrorResponse, "description": "Not ready; says why."}}
_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


def router(replica: Replica) -> APIRouter:
    """Returns the routes that tell whether requests may be sent."""
    routes = APIRouter(tags=["status"])

    @routes.get("/health")
    async def health() -> StatusResponse:
        """Tells that the process is alive; it says nothing about the model."""
        return StatusResponse(status="alive")

    @routes.get("/ready", responses=_NOT_READY)
    async def ready() -> StatusResponse:
        """Tells that the model is warm and that requests may be sent; the first thing to change on shutdown."""
        replica.check_ready()
        return StatusResponse(status="ready")

    return routes


def users_router(replica: Replica) -> APIRouter:
    """Returns what is left of `internal_router` for the port of users, where the internals have one of their own."""
    routes = APIRouter(tags=["status"])

    @routes.get("/version", response_model=ServedResponse, responses=_NOT_READY)
    async def version() -> ServedResponse:
        """Tells which model version and which image digest answer here."""
        served = replica.model.version
        return ServedResponse(
            model_name=served.model_name, version=served.version, digest=replica.settings.image_digest
        )

    @routes.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        raise not_here()

    return routes


def internal_router(replica: Replica) -> APIRouter:
    """Returns the routes for whoever runs the replica."""
    routes = APIRouter(tags=["status"])

    @routes.get("/version", response_model=VersionResponse, responses=_NOT_READY)
    async def version() -> dict[str, object]:
        """Tells exactly what is served, from which checkpoint it was exported, and what runs it."""
        return replica.describe()

    @routes.get("/metrics", response_class=Response, responses=_TEXT)
    async def metrics() -> Response:
        """Prometheus metrics in the text format."""
        return Response(replica.metrics.render(), media_type=CONTENT_TYPE_LATEST)

    return routes
