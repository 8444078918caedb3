"""Everything that can go wrong, as one tree: whoever catches ``BananaDeliveryError`` catches all of it.

    BananaDeliveryError
    ├── BadSettingsError
    ├── TargetError                     where releases run
    │   ├── ClaimRefusedError
    │   ├── ClaimOutdatedError
    │   ├── FencedError
    │   ├── DriftError
    │   ├── ConflictError
    │   ├── LostRecordError
    │   └── NotReadyError
    │       └── NeverReadyError
    ├── ImageError                      engines and stores of images
    │   ├── PassingError
    │   ├── UnreachableError            asked often enough
    │   ├── RefusedRemovalError         of this image
    │   └── SelfTestFailedError         the image's fault
    ├── RegistryError                   MLflow
    │   ├── RegistryRefusedError
    │   ├── RegistryUnreadError
    │   ├── UnknownVersionError
    │   ├── WebhookRefusedError
    │   └── MissingCheckpointError
    ├── ExportError                     best.pt to model.onnx: this machine's fault
    ├── RejectedModelError              the same: the model's fault
    │   ├── UnreadableCheckpointError
    │   ├── UnsafeModelError
    │   ├── UnsignedModelError
    │   ├── NotADetectorError
    │   ├── BrokenWeightsError
    │   ├── UnsupportedModelError
    │   ├── UnjudgedClassesError        its classes are not those of the labelled images
    │   └── BrokenAnswerError
    ├── FileLockedError                 a file of ours; of the system too
    ├── EvaluationError                 asking a running release
    ├── AskingError
    │   ├── DigestMismatchError
    │   └── UnansweredError
    ├── AcceptanceTestFailedError
    ├── LabelledImagesError
    ├── GateError                       a delivery
    ├── NothingToRollBackError
    │   └── GoneAlreadyError
    ├── NoRoomError
    ├── DagsterError
    │   ├── RefusedError
    │   └── EvidenceError               keys and signatures of records
    ├── StackError                      the embedded stack
    ├── UnfitError                      what a delivery needs
    └── DemoError

Each message is one sentence for a person: what, where, what to do. It never holds a secret: whatever becomes a message,
a log line, a tag or a notice goes through ``redacted``, the one place that knows what a secret looks like.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "***"
SHORTEST_SECRET = 8
"""Characters; a shorter value is found in innocent words too, and taking those out would tell what it is."""
_USER_IN_URL = re.compile(r"(?<=://)(?:[^\s/?#'\"<>@:]+:(?!\d+/)[^\s'\"<>]*|[^\s/?#'\"<>@]*)@")
"""Up to the last @, since a password may hold a slash that nobody encoded; a port is no password."""
_SECRET_IN_QUERY = re.compile(
    r"([?&;](?:[\w.-]*(?:token|secret|passw(?:or)?d|pwd|signature|credential|api_?key|access_?key|auth)[\w.-]*|sig|key)=)"
    r"[^&;\s'\"<>]+",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(r"((?:proxy-)?authorization['\"]?\s*[:=]\s*['\"]?(?:\w+\s+)?)[^\s'\",]+", re.IGNORECASE)
_secrets: set[str] = set()


def hide(secrets: Iterable[str]) -> None:
    """From now on leave these values out of whatever this process says."""
    _secrets.update(secret for secret in secrets if len(secret) >= SHORTEST_SECRET)


def redacted(text: str) -> str:
    """A text without secrets: known ones, logins within addresses, tokens in their queries and in headers.

    >>> redacted("sqlalchemy: postgresql://banana:pa/ss@db:5432/log is away")
    'sqlalchemy: postgresql://***@db:5432/log is away'
    >>> redacted("GET https://bucket/best.pt?X-Amz-Signature=abc&part=1")
    'GET https://bucket/best.pt?X-Amz-Signature=***&part=1'
    """
    # The longest first: one may be a part of another.
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _USER_IN_URL.sub(f"{HIDDEN}@", text)
    text = _SECRET_IN_QUERY.sub(rf"\1{HIDDEN}", text)
    return _AUTHORIZATION.sub(rf"\1{HIDDEN}", text)


class BananaDeliveryError(Exception):
    """Whatever the product raises on purpose; its message holds no secret, whoever wrote it."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(redacted(one) if isinstance(one, str) else one for one in arguments))


class BadSettingsError(BananaDeliveryError):
    """A setting cannot be used; one sentence: which variable, what is wrong with it."""


class TargetError(BananaDeliveryError):
    """The target could not do what was asked; the message is one sentence for a person: what, where, what to do."""


class ClaimRefusedError(TargetError):
    """Another owner holds the environment, or it has changed since the claim was decided."""


class ClaimOutdatedError(ClaimRefusedError):
    """The environment has changed since the claim was decided; whoever wants it looks again and decides anew."""


class FencedError(TargetError):
    """The environment was taken over since this claim was made; the holder must stop and touch nothing more."""


class DriftError(TargetError):
    """The environment was changed by hand; the pipeline touches nothing until a person says so."""


class ConflictError(TargetError):
    """The object was changed, or created, by somebody else since it was read."""


class LostRecordError(TargetError):
    """An environment has neither a record nor a copy that can be believed; one sentence that names the way out."""


class NotReadyError(TargetError):
    """Replicas did not get ready because of the target they run on; one sentence."""


class NeverReadyError(NotReadyError):
    """A release did not get ready by its own fault: it crashes, or runs without ever being ready; one sentence."""


class ImageError(BananaDeliveryError):
    """An image could not be built, found, pushed or removed; one sentence: what, where, what to do."""


class PassingError(ImageError):
    """An engine or registry failed in a way that another try may cure.

    Attributes:
        pause: seconds for which it asks to be left alone; 0 if it does not say.
    """

    pause: float = 0.0


class UnreachableError(ImageError):
    """An engine or registry failed so each time it was asked; nothing is known of what was asked for."""


class RefusedRemovalError(ImageError):
    """A registry that removes other things does not let this image be removed."""


class SelfTestFailedError(ImageError):
    """An image's self-test ran and failed, or said something else than it should: no other try helps."""


class RegistryError(BananaDeliveryError):
    """The registry cannot be reached or did not answer as it should; worth another try later."""


class RegistryUnreadError(RegistryError):
    """The registry answers, and not all that it holds is read yet; the next look goes on where this one ended."""


class WebhookRefusedError(RegistryError):
    """A delivery of a webhook is none that counts.

    Attributes:
        status: HTTP status that says so.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class RegistryRefusedError(RegistryError):
    """The registry answered that this account may not do that; no other try helps until somebody changes it."""


class UnknownVersionError(RegistryError):
    """The version does not exist; one sentence that says which ones do."""


class MissingCheckpointError(RegistryError):
    """The version exists, but has no readable ``best.pt``; one sentence: what, where, what to do."""


class NoRoomError(BananaDeliveryError):
    """The disk has no room for a delivery."""


class ExportError(BananaDeliveryError):
    """The export could not be carried out here (disk, memory, time); says nothing about the model."""


class RejectedModelError(BananaDeliveryError):
    """The model must not be delivered, however often it is tried; one sentence: what, where, what to do."""


class UnreadableCheckpointError(RejectedModelError):
    """The file is no whole torch checkpoint of an ultralytics model."""


class UnsafeModelError(RejectedModelError):
    """The file's pickle asks for more than the parts of a model; it was not loaded."""


class UnsignedModelError(RejectedModelError):
    """Nobody whose key is believed signed the checkpoint, and the settings ask for that."""


class NotADetectorError(RejectedModelError):
    """The checkpoint holds a model of another task."""


class BrokenWeightsError(RejectedModelError):
    """Some weights are not finite numbers."""


class UnsupportedModelError(RejectedModelError):
    """A detector that the serving application cannot run."""


class UnjudgedClassesError(RejectedModelError):
    """The labelled images do not show what it detects, so that nobody could say how well it does."""


class BrokenAnswerError(RejectedModelError):
    """It answers with what is no answer, such as a score that is no number."""


class FileLockedError(BananaDeliveryError, TimeoutError):
    """Another process or thread holds a file for too long; one sentence that says who. It is an ``OSError`` too."""


class EvaluationError(BananaDeliveryError):
    """The evidence could not be gathered, or it was measured on another release than meant; one sentence."""


class AskingError(BananaDeliveryError):
    """The answers cannot serve as evidence; the message says why."""


class DigestMismatchError(AskingError):
    """Something else answered than what was to be measured."""


class UnansweredError(AskingError):
    """Some images were not answered, so that a measurement would flatter whoever failed on them."""


class AcceptanceTestFailedError(BananaDeliveryError):
    """What an acceptance test found wrong, in one sentence."""


class LabelledImagesError(BananaDeliveryError):
    """The labelled images cannot be used; the message says where and what to do."""


class GateError(BananaDeliveryError):
    """The gate refused the release; one sentence."""


class NothingToRollBackError(BananaDeliveryError):
    """Production has no release to go back to; one sentence."""


class GoneAlreadyError(NothingToRollBackError):
    """The image that was to go is not in production any more: whoever wanted that has what it wanted."""


class DagsterError(BananaDeliveryError):
    """Dagster cannot be reached or refused; one sentence."""


class RefusedError(DagsterError):
    """The pages do not let a request in; one sentence for whoever sent it.

    Attributes:
        status: of the answer.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class EvidenceError(DagsterError):
    """A record cannot be signed, or nothing can be verified; one sentence: where the keys should be, what to do."""


class StackError(BananaDeliveryError):
    """The stack could not be started or stopped; one sentence: what, where, what to do."""


class DemoError(BananaDeliveryError):
    """The demonstration cannot begin or go on; one sentence."""


class UnfitError(BananaDeliveryError):
    """A part of the pipeline is not as a delivery needs it."""
