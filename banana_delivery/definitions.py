"""The code location: ``defs`` is all that Dagster loads."""

from banana_delivery.defs.build import build_defs
from banana_delivery.settings import load_settings

defs = build_defs(load_settings())
