"""What Dagster's webserver loads as our code location: the definitions of the pipeline that is served now."""

from __future__ import annotations

from tests.support import served

defs = served.SERVED[-1].defs
