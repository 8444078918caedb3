"""How long something has looked the same, as one observer saw it.

The observer says what it sees; its own monotonic clock says how long that has been so. No clock of another machine is
asked, and none that can be set. What is told apart by a counter may be looked at as rarely as one likes: if two looks
show the same, nothing else was there between them.
"""

from __future__ import annotations

from banana_delivery.policy.model import StoredRecord


class Sighting(StoredRecord):
    """What an observer remembers of one thing.

    Attributes:
        sign: what it looked like.
        boot: which start of the observer's machine its clock counts from.
        looked_at: that clock at the last look, seconds.
        lasted: seconds for which it was observed to look so.
    """

    sign: str
    boot: str
    looked_at: float
    lasted: float = 0.0


def look(before: Sighting | None, sign: str, boot: str, monotonic: float) -> Sighting:
    """Take one more look into account.

    Args:
        before: what the last one returned; None at first.
        sign: what the thing looks like now; two states that differ never look the same.
        boot: which start of this machine its clock counts from.
        monotonic: that clock, seconds.

    Returns:
        What to keep. Time before a restart of the machine stays counted, and the time that the restart took does not:
        nobody knows how long that was.
    """
    if before is None or before.sign != sign:
        return Sighting(sign=sign, boot=boot, looked_at=monotonic)
    passed = max(0.0, monotonic - before.looked_at) if before.boot == boot else 0.0
    return before.replace(boot=boot, looked_at=monotonic, lasted=before.lasted + passed)
