"""How often one address may ask for something."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

PERIOD = 60.0
"""Seconds over which calls are counted."""


@define(eq=False)
class Rate:
    """``most`` calls of an address in :data:`PERIOD`, which begins with its first; 0 is any number.

    Of more than ``capacity`` addresses the ones that came first are forgotten.
    """

    _clock: IReactorTime
    most: int
    capacity: int = 65_536
    _calls: dict[str, tuple[float, int]] = field(factory=dict)

    def wait(self, address: str) -> float:
        """Count a call; the seconds that this address has to wait for the next period, 0.0 if it need not."""
        if not self.most:
            return 0.0
        now = self._clock.seconds()
        calls = self._calls
        # They stand in the order in which their periods began.
        while calls and calls[oldest := next(iter(calls))][0] + PERIOD <= now:
            del calls[oldest]
        if address not in calls and len(calls) >= self.capacity:
            del calls[next(iter(calls))]
        began, count = calls.get(address, (now, 0))
        if count >= self.most:
            return began + PERIOD - now
        calls[address] = began, count + 1
        return 0.0
