"""The pipeline in memory behind Dagster's real webserver and our guard, on a port: what a machine elsewhere asks.

What the daemon does is done here in a thread: it takes runs from the queue, runs them one after the other, and
evaluates the sensor that writes how they ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import uvicorn
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from pydantic import SecretStr

from banana_delivery.runs.pages.app import Workspace, dagster_pages, guarded
from banana_delivery.settings import Settings
from tests.support.pipeline import PipelineHarness

LOCATION = "banana-delivery"
TOKEN = "the token of the command line"
SERVED: list[PipelineHarness] = []
"""The pipelines that were served; the last one is."""


class Daemon:
    """Runs what is queued.

    Args:
        pipeline: whose runs they are.
        before: called with each run before it begins.
    """

    def __init__(self, pipeline: PipelineHarness, before: Callable[[dg.DagsterRun], None]) -> None:
        self._pipeline = pipeline
        self._before = before
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(30)

    def _work(self) -> None:
        queued = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])
        while not self._ended.wait(0.1):
            for run in self._pipeline.instance.get_runs(queued):
                self._run(run)

    def _run(self, run: dg.DagsterRun) -> None:
        pipeline = self._pipeline
        self._before(run)
        if pipeline.run_of(run.run_id).status is dg.DagsterRunStatus.QUEUED:
            starting = dg.DagsterEvent(dg.DagsterEventType.RUN_STARTING.value, run.job_name)
            pipeline.instance.report_dagster_event(starting, run_id=run.run_id)
            job = InMemoryJob(pipeline.defs.resolve_job_def(run.job_name))
            execute_run(job, pipeline.run_of(run.run_id), pipeline.instance)
        pipeline.after(pipeline.run_of(run.run_id))


@contextmanager
def serve(pipeline: PipelineHarness, before: Callable[[dg.DagsterRun], None] = lambda _: None) -> Iterator[str]:
    """The pages of a pipeline, at an address.

    Args:
        pipeline: whose they are.
        before: called with each run before it begins.
    """
    SERVED.append(pipeline)
    # By its file, which is executed each time anew.
    target = LoadableTargetOrigin(python_file=str(Path(__file__).with_name("served_location.py")))
    place = InProcessCodeLocationOrigin(target, location_name=LOCATION)
    settings = Settings(home=pipeline.resources.settings.home, pages_read_only=True, pages_token=SecretStr(TOKEN))
    with Workspace(pipeline.instance, InProcessWorkspaceLoadTarget(place)) as workspace, Daemon(pipeline, before):
        config = uvicorn.Config(guarded(dagster_pages(workspace), settings), port=0, log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            threading.Event().wait(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(30)
