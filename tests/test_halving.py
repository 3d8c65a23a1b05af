"""A batch that was refused, in halves."""

from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from logui_tx.delivery.halving import halves
from logui_tx.model import Position, SinkBatch
from logui_tx.testing import make_record, make_session


class HalvesTests(SynchronousTestCase):
    def test_down_to_single_ones(self) -> None:
        records = tuple(make_record(n) for n in range(1, 6))
        sessions = tuple(make_session(f"s{n}") for n in range(3))
        whole = SinkBatch("j", Position(1), Position(2), records, sessions)
        left, single = [whole], []
        ids: dict[str, object] = {}
        while left:
            batch = left.pop(0)
            what = batch.records or batch.sessions
            self.assertEqual(ids.setdefault(batch.id, what), what)
            if len(batch.records) + len(batch.sessions) == 1:
                single.append(batch)
            else:
                left = [*halves(batch), *left]
        self.assertEqual(
            [one for batch in single for one in (*batch.sessions, *batch.records)], [*sessions, *records]
        )
        for before, after in pairwise(single):
            self.assertEqual(before.after, after.first)
        self.assertEqual((single[0].first, single[-1].after), (Position(1), Position(2)))
