"""How long to wait before trying again: longer every time, up to a limit, never exactly as long as the others do."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Backoff:
    """Endless delays in seconds: `first`, doubled each time up to `limit`, each shortened at random by up to a half."""

    first: float
    limit: float

    def delay(self, failures: int) -> float:
        """Return the delay after that many failures in a row, counted from 1."""
        # The exponent is bounded, for two to the power of a day's failures is no float.
        longest = min(self.limit, self.first * 2.0 ** min(failures - 1, 40))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret

    def __iter__(self) -> Iterator[float]:
        """Return all the delays, one after the other; they never end."""
        failures = 0
        while True:
            failures += 1
            yield self.delay(failures)
