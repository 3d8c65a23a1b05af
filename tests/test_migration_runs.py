"""Which events of a session are stored as one message."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.migration import runs
from logui_tx.migration.events import DIALECT, message, read_event
from logui_tx.migration.runs import Run, Runs
from tests.released_server import logged

FLIGHT = "091d2bc4-3cf0-4c3d-890c-3fedb06b0081"


def event(n: int, data: Any, status: str | None = None) -> bytes:
    more = {} if status is None else {"eventType": "statusEvent", "eventDetails": {"type": status, "n": n}}
    return json.dumps(logged(None, FLIGHT, None, n, applicationSpecificData=data, **more)).encode()


def marker(n: int, data: Any) -> bytes:
    return event(n, data, "applicationSpecificDataUpdated")


def put(texts: list[bytes], start: Runs | None = None) -> list[Run]:
    found = start or Runs(b"{}", begun=False)
    made = [run for at, text in enumerate(texts) for run in found.add(read_event(text), at)]
    return made + found.end()


def in_force(made: list[Run]) -> list[Any]:
    """The data in force of every event, as an export tells it."""
    return [
        json.loads(run.app_data if each.app_data is None else each.app_data)
        for run in made
        for each in DIALECT.events(message(run.items))
    ]


class RunTests(SynchronousTestCase):
    def test_ten_at_a_time(self) -> None:
        made = put([event(n, {"a": 1}) for n in range(25)])
        self.assertEqual([len(run.items) for run in made], [10, 10, 5])
        self.assertEqual([run.received for run in made], [9, 19, 24])
        self.assertEqual({run.app_data for run in made}, {b'{"a": 1}'})

    def test_data_that_was_updated(self) -> None:
        """The client's messages: ten under A, then ten sent under B, of which seven were made under A."""
        texts = [event(n, {"d": "A"}) for n in range(13)]
        texts += [event(n, {"d": "B"}) for n in range(13, 20)]
        texts += [marker(20, {"d": "B"}), *(event(n, {"d": "B"}) for n in range(21, 40))]
        data = [each["d"] for each in in_force(put(texts))]
        self.assertEqual(data, ["A"] * 20 + ["B"] * 20)

    def test_held_until_the_marker_comes(self) -> None:
        """After it was away, a page sends all in one."""
        texts = [event(0, {"d": "A"}), *(event(n, {"d": "B"}) for n in range(1, 301))]
        texts.append(marker(301, {"d": "B"}))
        data = [each["d"] for each in in_force(put(texts))]
        self.assertEqual(data, ["A"] * 301 + ["B"])

    def test_updated_twice_in_one_message(self) -> None:
        texts = [event(0, {"d": "A"})] + [event(n, {"d": "C"}) for n in (1, 2)]
        texts += [marker(3, {"d": "C"}), event(4, {"d": "C"}), marker(5, {"d": "C"})]
        self.assertEqual([each["d"] for each in in_force(put(texts))], ["A"] * 3 + ["C"] * 3)

    def test_another_page_has_its_own_data(self) -> None:
        """A page that begins tells so; nothing is held for it."""
        texts = [event(n, {"d": "A"}) for n in range(5)]
        texts += [event(5, {"d": "B"}, "started"), *(event(n, {"d": "B"}) for n in range(6, 30))]
        made = put(texts)
        self.assertEqual([len(run.items) for run in made], [5, 10, 10, 5])
        self.assertEqual([each["d"] for each in in_force(made)], ["A"] * 5 + ["B"] * 25)

    def test_two_pages_in_turn(self) -> None:
        texts = [event(n, {"d": "AB"[n // 10 % 2]}) for n in range(40)]
        self.assertEqual([each["d"] for each in in_force(put(texts))], ["AB"[n // 10 % 2] for n in range(40)])

    def test_the_first_events_of_a_session(self) -> None:
        """Nothing was in force before: what they bear is."""
        self.assertEqual(in_force(put([event(0, {"d": 1}), marker(1, {"d": 1})])), [{"d": 1}] * 2)

    def test_gone_on_with(self) -> None:
        """A session that the journal has already."""
        start = Runs(b'{"d": "A"}', begun=True)
        made = put([event(0, {"d": "B"}), marker(1, {"d": "B"})], start)
        self.assertEqual([each["d"] for each in in_force(made)], ["A", "B"])

    def test_events_without_data(self) -> None:
        made = put([event(0, None), event(1, {"d": 1}), event(2, None), event(3, {"d": 1})])
        self.assertEqual([len(run.items) for run in made], [4])
        self.assertEqual(put([event(0, None)])[0].app_data, b"{}")

    def test_limits(self) -> None:
        texts = [event(0, {"d": "A"}), *(event(n, {"d": "B"}) for n in range(1, 2500))]
        sizes = [len(run.items) for run in put(texts)]
        self.assertEqual(sizes[:2], [1, runs.BACKLOG])
        self.assertEqual(max(sizes), runs.BACKLOG)
        self.patch(runs, "MAX_SIZE", 1000)
        self.assertTrue(all(len(run.items) <= 4 for run in put(texts)))

    @given(
        st.lists(
            st.tuples(
                st.sampled_from([None, {"d": 1}, {"d": 2}]), st.sampled_from([None, "started", "marker"])
            )
        )
    )
    def test_none_is_lost_and_none_comes_twice(self, told: list[tuple[Any, str | None]]) -> None:
        texts = [
            marker(n, data) if what == "marker" else event(n, data, what)
            for n, (data, what) in enumerate(told)
        ]
        made = put(texts)
        self.assertEqual([item for run in made for item in run.items], texts)
        self.assertTrue(all(run.items for run in made))
        self.assertEqual(len(in_force(made)), len(texts))
