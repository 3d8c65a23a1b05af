from twisted.trial.unittest import SynchronousTestCase

from logui_tx.records import record_json, record_lines
from logui_tx.testing.sink_contract import HOSTILE, make_record


class LinesTests(SynchronousTestCase):
    def test_each_on_a_line_with_its_end(self) -> None:
        records = [make_record(n, event=event) for n, event in enumerate(HOSTILE, 1)]
        self.assertEqual(record_lines(records), b"".join(record_json(one) + b"\n" for one in records))
        self.assertEqual(record_lines([]), b"")
