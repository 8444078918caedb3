"""What people are told about the machine that deliveries run on."""

from __future__ import annotations

from banana_delivery.notifications.messages import Notice
from banana_delivery.policy import commands
from banana_delivery.policy.outcomes import Urgency


def low_disk(model: str, folder: str, free: int, needed: int, occasion: str, *, refused: bool) -> Notice:
    """The message that a disk fills.

    Args:
        model: registered model in MLflow.
        folder: on that disk.
        free: bytes there.
        needed: bytes that a delivery takes.
        occasion: what tells this time from another one.
        refused: whether there is no room for a single delivery any more.
    """
    room = "No delivery begins until there is room." if refused else "Deliveries go on while they have room."
    lines = [
        f"{_mib(free)} are free in {folder}; a delivery takes about {_mib(needed)}. {room}",
        "Production serves on, and a rollback has room of its own.",
        f"Next: {commands.prune()} shows what the pipeline keeps, and {commands.prune(delete=True)} removes what goes; "
        "BANANA_KEEP_VERSIONS and BANANA_KEEP_REPORTS say how much stays. Or make the disk larger.",
    ]
    title = "has NO ROOM for a delivery" if refused else "fills up"
    return Notice(
        key=f"low disk/{folder}/{occasion}",
        title=f"The disk of {model} {title}",
        body="\n".join(lines),
        urgency=Urgency.URGENT if refused else Urgency.ASKS,
    )


def trial(model: str, by: str, host: str) -> Notice:
    """The message that tries the channels.

    Args:
        model: registered model in MLflow.
        by: who tries them.
        host: from where.
    """
    return Notice(
        key="trial",
        title=f"A test message about {model}",
        body=f"{by} sent it from {host} to see whether it arrives. Nothing happened, and nothing has to be done.",
        urgency=Urgency.ASKS,
    )


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"
