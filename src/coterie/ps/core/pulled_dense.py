"""The dense parameters as replies carry them, made once per step for all workers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coterie.plane.packing import pack_differences


@dataclass(frozen=True, eq=False)
class PulledDense:
    """The dense parameters after a step.

    Attributes:
        step: The number of updates that they hold.
        whole: The parameters, float32 [P], with the sums of a local optimizer [P + sums]; empty on
            shards that hold none.
        differences: From those of the step before, packed; None where they are not shorter, or
            the step before was another run's or another model's.
    """

    step: int
    whole: bytes
    differences: bytes | None = None

    def followed_by(self, whole: bytes) -> PulledDense:
        """Those of the next step."""
        packed = None
        if whole:
            old, new = (np.frombuffer(octets, np.float32) for octets in (self.whole, whole))
            packed = pack_differences(old, new)
        return PulledDense(self.step + 1, whole, packed)

    def for_holder_of(self, step: int | None) -> bytes | None:
        """The differences for a node that holds the parameters of a step; None: it needs them whole."""
        return self.differences if step is not None and step + 1 == self.step else None
