"""The stages of a connection, as one table; what happens in each is the conversation's (:class:`Actions`).

::

    stage     message     misread    admitted    refused  announce   expire   drained  finished lost
    awaiting  → admitting -          -           -        → closed   → closed → closed → closed → closed
    admitting kept        → awaiting → listening → closed → closed   -        → closed → closed → orphaned
    orphaned  -           -          → closed *  → closed -          -        -        → closed -
    listening taken       -          -           -        → draining -        → closed → closed → closed
    draining  taken       -          -           -        -          -        → closed → closed → closed
    closed    -           -          left        -        -          -        -        -        -

``misread``: the first message was a bad request; in some dialects the next may do.

``orphaned`` is a client that shook hands, sent and went in one breath, as a closing tab does: what it sent is
stored (*) although nobody waits for the answer.
"""

from __future__ import annotations

from typing import Protocol, cast

from automat import TypeMachineBuilder

from logui_tx.model import Reply
from logui_tx.sessions import Opened


class Stages(Protocol):
    """What can happen. ``misread`` and ``finished`` come from within: the first message is taken back, the
    conversation ends. The rest comes from outside."""

    def message(self, message: bytes, binary: bool) -> None: ...
    def misread(self) -> None: ...
    def admitted(self, opened: Opened) -> None: ...
    def refused(self, reply: Reply) -> None: ...
    def announce(self) -> None: ...
    def expire(self) -> None: ...
    def drained(self) -> None: ...
    def finished(self) -> None: ...
    def lost(self) -> None: ...


class Actions(Protocol):
    """What a conversation does about it."""

    def ask_admission(self, message: bytes, binary: bool) -> None: ...
    def keep(self, message: bytes, binary: bool) -> None: ...
    def take(self, message: bytes, binary: bool) -> None: ...
    def welcome(self, opened: Opened) -> None: ...
    def send(self, reply: Reply) -> None: ...
    def refuse_late(self) -> None: ...
    def refuse_in_shutdown(self) -> None: ...
    def send_announcement(self) -> None: ...
    def send_end(self) -> None: ...
    def leave(self) -> None: ...
    def release(self, opened: Opened) -> None: ...


_builder = TypeMachineBuilder(Stages, Actions)  # type: ignore[type-abstract]
_awaiting = _builder.state("awaiting")
_admitting = _builder.state("admitting")
_orphaned = _builder.state("orphaned")
_listening = _builder.state("listening")
_draining = _builder.state("draining")
_closed = _builder.state("closed")


@_awaiting.upon(Stages.message).to(_admitting)
def _first(_: Stages, it: Actions, message: bytes, binary: bool) -> None:
    it.ask_admission(message, binary)


@_awaiting.upon(Stages.expire).to(_closed)
def _late(_: Stages, it: Actions) -> None:
    it.refuse_late()


@_awaiting.upon(Stages.announce).to(_closed)
@_awaiting.upon(Stages.drained).to(_closed)
@_admitting.upon(Stages.announce).to(_closed)
@_admitting.upon(Stages.drained).to(_closed)
def _not_any_more(_: Stages, it: Actions) -> None:
    it.refuse_in_shutdown()


@_admitting.upon(Stages.message).loop()
def _early(_: Stages, it: Actions, message: bytes, binary: bool) -> None:
    it.keep(message, binary)


@_admitting.upon(Stages.admitted).to(_listening)
def _begin(_: Stages, it: Actions, opened: Opened) -> None:
    it.welcome(opened)


@_admitting.upon(Stages.refused).to(_closed)
def _refuse(_: Stages, it: Actions, reply: Reply) -> None:
    it.send(reply)


@_orphaned.upon(Stages.admitted).to(_listening)
def _begin_and_end(stages: Stages, it: Actions, opened: Opened) -> None:
    it.welcome(opened)
    stages.lost()


@_listening.upon(Stages.message).loop()
@_draining.upon(Stages.message).loop()
def _take(_: Stages, it: Actions, message: bytes, binary: bool) -> None:
    it.take(message, binary)


@_listening.upon(Stages.announce).to(_draining)
def _announce(_: Stages, it: Actions) -> None:
    it.send_announcement()


@_listening.upon(Stages.drained).to(_closed)
@_draining.upon(Stages.drained).to(_closed)
def _end(_: Stages, it: Actions) -> None:
    it.send_end()
    it.leave()


@_listening.upon(Stages.finished).to(_closed)
@_listening.upon(Stages.lost).to(_closed)
@_draining.upon(Stages.finished).to(_closed)
@_draining.upon(Stages.lost).to(_closed)
def _leave(_: Stages, it: Actions) -> None:
    it.leave()


@_closed.upon(Stages.admitted).loop()
def _admitted_in_vain(_: Stages, it: Actions, opened: Opened) -> None:
    it.release(opened)


# What comes too late, or has no meaning at a stage, changes nothing.


@_awaiting.upon(Stages.finished).to(_closed)
@_awaiting.upon(Stages.lost).to(_closed)
@_admitting.upon(Stages.misread).to(_awaiting)
@_admitting.upon(Stages.lost).to(_orphaned)
@_admitting.upon(Stages.finished).to(_closed)
@_orphaned.upon(Stages.finished).to(_closed)
@_orphaned.upon(Stages.announce).loop()
@_orphaned.upon(Stages.drained).loop()
@_orphaned.upon(Stages.lost).loop()
@_listening.upon(Stages.expire).loop()
@_draining.upon(Stages.announce).loop()
@_draining.upon(Stages.expire).loop()
@_closed.upon(Stages.announce).loop()
@_closed.upon(Stages.expire).loop()
@_closed.upon(Stages.drained).loop()
@_closed.upon(Stages.finished).loop()
@_closed.upon(Stages.lost).loop()
def _nothing(_: Stages, it: Actions) -> None:
    pass


@_orphaned.upon(Stages.message).loop()
@_closed.upon(Stages.message).loop()
def _unheard(_: Stages, it: Actions, message: bytes, binary: bool) -> None:
    pass


@_orphaned.upon(Stages.refused).to(_closed)
@_closed.upon(Stages.refused).loop()
def _unanswered(_: Stages, it: Actions, reply: Reply) -> None:
    pass


new_stages = _builder.build()
"""``new_stages(actions)`` is a machine in the stage *awaiting*."""

OVER = new_stages(cast(Actions, None))
"""The stage *closed*, for all conversations that nobody needs any more: it asks nothing of them."""
OVER.lost()
