"""Why a checkpoint does not become an artifact: the model is to blame, or the place it is converted in."""

from __future__ import annotations


class ExportError(Exception):
    """The conversion could not be carried out here (disk, memory, time); says nothing about the model."""


class RejectedModelError(Exception):
    """The model must not be delivered, however often it is tried; one sentence: what, where, what to do."""


class UnreadableCheckpointError(RejectedModelError):
    """The file is no whole torch checkpoint of an ultralytics model."""


class UnsafeModelError(RejectedModelError):
    """The file's pickle asks for more than the parts of a model; it was not loaded."""


class NotADetectorError(RejectedModelError):
    """The checkpoint holds a model of another task."""


class BrokenWeightsError(RejectedModelError):
    """Some weights are not finite numbers."""


class UnsupportedModelError(RejectedModelError):
    """A detector that the serving application cannot run."""


REJECTIONS: dict[str, type[RejectedModelError]] = {
    kind.__name__: kind
    for kind in (
        UnreadableCheckpointError,
        UnsafeModelError,
        NotADetectorError,
        BrokenWeightsError,
        UnsupportedModelError,
    )
}
"""By name, as they travel from a subprocess."""
