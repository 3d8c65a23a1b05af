"""How a delivery is."""

from __future__ import annotations

from attrs import define

LEFT_BEHIND = (
    "configure its URI again; if only its place has changed, give the new URI this name with ?name=, and it"
    " goes on there; if it is not used any more: logui sink forget"
)
"""What to do about a sink that lacks events and is not delivered to."""


@define
class Progress:
    """How a delivery is, for metrics and health. ``oldest`` is when the first event was received that is not
    delivered (UNIX ms), None where all are; ``trouble`` why nothing is taken, since ``since`` (UNIX ms)."""

    behind: int = 0
    oldest: int | None = None
    delivered: int = 0
    dead_letters: int = 0
    failures: int = 0
    paused: bool = False
    trouble: str | None = None
    since: int | None = None

    def lag(self, now: int) -> float:
        """For how many seconds that event has waited at ``now`` (UNIX ms)."""
        return 0.0 if self.oldest is None else max(0.0, (now - self.oldest) / 1000)
