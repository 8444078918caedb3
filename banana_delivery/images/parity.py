"""Whether building an old version again gives what was built then, and if not, what differs."""

from __future__ import annotations

from dataclasses import dataclass

from banana_delivery.policy.records import ImageRef


@dataclass(frozen=True)
class Contents:
    """What an image is made of, as far as it can be made again.

    Attributes:
        layers: digest of each layer's uncompressed content, by name, bottom first.
        labels: its labels.
    """

    layers: dict[str, str]
    labels: dict[str, str]


@dataclass(frozen=True)
class Parity:
    """How a rebuild compares with the image it should equal.

    Attributes:
        ref: the image.
        differences: one clause for each thing that differs; empty proves parity.
    """

    ref: ImageRef
    differences: tuple[str, ...]

    @property
    def proven(self) -> bool:
        """Whether the rebuild is the same in every layer and label."""
        return not self.differences


def compare(ref: ImageRef, then: Contents, now: Contents) -> Parity:
    """Compare a rebuild with the image."""
    layers = [
        f"layer {name} was {_short(then.layers, name)} and is now {_short(now.layers, name)}"
        for name in [*then.layers, *(name for name in now.layers if name not in then.layers)]
        if then.layers.get(name) != now.layers.get(name)
    ]
    labels = [
        f"label {name} was {then.labels.get(name, 'absent')!r} and is now {now.labels.get(name, 'absent')!r}"
        for name in sorted(then.labels.keys() | now.labels.keys())
        if then.labels.get(name) != now.labels.get(name)
    ]
    return Parity(ref, tuple(layers + labels))


def _short(layers: dict[str, str], name: str) -> str:
    return layers[name].removeprefix("sha256:")[:12] if name in layers else "absent"
