"""Whether this replica may be sent requests: starting, ready, refused or draining."""

from enum import StrEnum


class State(StrEnum):
    """The life of a replica, in this order, except that `refused` ends it early."""

    STARTING = "starting"
    READY = "ready"
    REFUSED = "refused"
    DRAINING = "draining"


class Lifecycle:
    """The state, and the sentence that explains it.

    Attributes:
        state: where it stands.
        message: why, for people.
        is_lost: whether only a new process helps, so that this one is to end by itself.
    """

    def __init__(self) -> None:
        self.state = State.STARTING
        self.message = "The model is being loaded and warmed up."
        self.is_lost = False

    @property
    def can_predict(self) -> bool:
        """Draining replicas still answer: the router may send requests until it has noticed."""
        return self.state in {State.READY, State.DRAINING}

    def become_ready(self) -> None:
        """The model is warm. A replica that was told to stop meanwhile stays unready."""
        if self.state is State.STARTING:
            self.state, self.message = State.READY, "ready"

    def refuse(self, reason: str) -> None:
        """The model cannot be served, for `reason`, and never will be by this process."""
        self.state, self.message = State.REFUSED, reason

    def lose(self, reason: str) -> None:
        """What it computes on failed, for `reason`: it goes on answering as well as it can, and ends."""
        self.state, self.message, self.is_lost = State.DRAINING, reason, True

    def drain(self) -> None:
        """The process was told to stop, or ends by itself."""
        self.state = State.DRAINING
        if not self.is_lost:
            self.message = "This replica is shutting down; send requests to another one."
