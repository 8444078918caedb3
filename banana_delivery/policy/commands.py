"""What people are told to type: each command of ``banana-delivery`` as a text that a shell takes as it stands.

A version is whatever the registry calls it, so it is quoted where a shell would read more into it.
"""

from __future__ import annotations

import shlex

from banana_delivery.policy.model import Environment

PROGRAM = "banana-delivery"
_WHY = "--reason '...'"
"""For the person to fill in."""


def up() -> str:
    """Starts the embedded stack."""
    return f"{PROGRAM} up"


def status() -> str:
    """Shows environments and outcomes."""
    return f"{PROGRAM} status"


def assemble_runtime() -> str:
    """Puts the image of packages together that releases stand on."""
    return f"{PROGRAM} assemble-runtime"


def deliver(version: str) -> str:
    """Delivers a version as a whole."""
    return f"{PROGRAM} deliver {shlex.quote(version)}"


def redeploy(*versions: str) -> str:
    """Puts versions that were released before into production again, one after the other."""
    return f"{PROGRAM} redeploy {shlex.join(versions)}"


def adopt_records() -> str:
    """Shows records that bear no signature, and has them believed from then on."""
    return f"{PROGRAM} adopt-records"


def approve(version: str) -> str:
    """Lets a version into production whose report was inconclusive."""
    return f"{PROGRAM} approve {shlex.quote(version)} {_WHY}"


def override(version: str) -> str:
    """Lets a version into production that was revoked, or that a freeze window keeps out."""
    return f"{PROGRAM} override {shlex.quote(version)} {_WHY}"


def withdraw(version: str) -> str:
    """Takes back what was approved or overridden of a version."""
    return f"{PROGRAM} withdraw {shlex.quote(version)} {_WHY}"


def unfreeze(until: str = "") -> str:
    """Lets deliveries into production again."""
    return f"{PROGRAM} unfreeze {_WHY}{f' --until {until}' if until else ''}"


def rollback(version: str = "") -> str:
    """Takes a version out of production, or whatever is there if none is named."""
    return " ".join(filter(None, [PROGRAM, "rollback", version and shlex.quote(version), _WHY]))


def rollback_to(version: str) -> str:
    """Brings production to a release that it had before."""
    return f"{PROGRAM} rollback --to {shlex.quote(version)} {_WHY}"


def prune(*, delete: bool = False) -> str:
    """Shows, or removes, what old deliveries left."""
    return f"{PROGRAM} prune{' --delete' if delete else ''}"


def abort(version: str = "") -> str:
    """Ends a delivery under way."""
    return " ".join(filter(None, [PROGRAM, "abort", version and shlex.quote(version), _WHY]))


def go_on() -> str:
    """Lets a delivery go on that somebody paused."""
    return f"{PROGRAM} resume {_WHY}"


def resume(environment: Environment) -> str:
    """Ends the hold after a hand edit."""
    return f"{PROGRAM} resume {environment}"


def restore(environment: Environment, active: str = "") -> str:
    """Writes a new record from what runs."""
    asked = f" --active {active}" if active else ""
    return f"{PROGRAM} restore --environment {environment}{asked}"


def scorecard() -> str:
    """Shows whether the pipeline keeps its promises."""
    return f"{PROGRAM} scorecard"


def notify_test() -> str:
    """Sends a message to every channel."""
    return f"{PROGRAM} notify-test"
