"""A sink's steps: done in a thread, each batch as a whole."""

from collections.abc import Callable
from pathlib import Path
from threading import get_ident
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from logui_tx.delivery.deliveries import Deliveries
from logui_tx.delivery.stepping import Stepping
from logui_tx.interfaces import IStep
from logui_tx.model import Position, Record, Session, SinkBatch
from logui_tx.testing import make_record, make_session
from tests.journals import NOW

BATCH = SinkBatch("j", Position(1), Position(2), (make_record(1), make_record(2)), (make_session("a"),))


@implementer(IStep)
class Noting:
    """Notes the thread in which it is done."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def record(self, record: Record) -> Record | None:
        self.threads.append(get_ident())
        return record

    def session(self, session: Session) -> Session:
        self.threads.append(get_ident())
        return session


class SteppingTests(SynchronousTestCase):
    def test_nothing_is_done_at_once(self) -> None:
        step, waiting = Noting(), []

        def in_thread(do: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
            waiting.append((do, arguments))
            return Deferred()

        stepping = Stepping([step], in_thread, lambda: NOW)
        stepping.batch(BATCH)
        stepping.letter(BATCH)
        self.assertEqual((step.threads, len(waiting)), ([], 2))
        (do, arguments), _ = waiting
        self.assertEqual(do(*arguments), (BATCH, []))

    def test_without_steps_no_thread_is_asked(self) -> None:
        stepping = Stepping([], lambda do, *arguments: fail(AssertionError()), lambda: NOW)
        self.assertEqual(self.successResultOf(stepping.batch(BATCH)), (BATCH, []))
        self.assertEqual(self.successResultOf(stepping.letter(BATCH)), BATCH)


class ThreadTests(TestCase):
    async def test_not_the_reactors(self) -> None:
        deliveries = Deliveries(reactor, Path("unused"), [], lambda _entry: None)
        step = Noting()
        batch, dead = await Stepping([step], deliveries._in_thread, lambda: NOW).batch(BATCH)
        await deliveries.stop(1)
        self.assertEqual((batch, dead, len(step.threads)), (BATCH, [], 3))
        self.assertNotIn(get_ident(), step.threads)
