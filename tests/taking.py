"""Payloads given to an intake without a conversation."""

from typing import Any

from twisted.internet.defer import Deferred

from logui_tx.intake import Intake
from logui_tx.model import Receipt


def take(intake: Intake, *payload: Any) -> "Deferred[Receipt]":
    """What the intake tells of a payload; ``payload`` is all that :meth:`Intake.take` needs besides."""
    done: Deferred[Receipt] = Deferred()
    intake.take(*payload, done)
    return done
