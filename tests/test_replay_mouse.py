"""The mouse sessions: every row in exactly one event, in order, with its exact values."""

import csv
from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.replay.mouse import HEADER, STATES, MalformedRow, read_events, read_rows, to_events

DATA = Path(__file__).with_name("data")
START = 1_700_000_000_000
TITLE = ",".join(HEADER).encode()

seconds = st.floats(-1e6, 1e9, allow_nan=False)
rows_as_text = st.lists(
    st.tuples(
        seconds,
        st.sampled_from(["NoButton", "Left", "Right", "Scroll"]),
        st.sampled_from(sorted(STATES)),
        st.integers(-70_000, 70_000),
        st.integers(-70_000, 70_000),
    ),
    max_size=60,
)


def events_of(*rows: str) -> list[dict]:
    """The events of rows without their header."""
    return list(to_events(read_rows([TITLE, *(row.encode() for row in rows)], "a.csv"), START))


def rows_in(event: dict) -> list[tuple]:
    """The rows that an event was made of, by all that a row tells, the event's last row last."""
    details = event["eventDetails"]

    def row(state: str, place: dict) -> tuple:
        return place["recorded"], place["elapsed"], details["button"], state, place["x"], place["y"]

    match details["type"]:
        case "click":
            return [row("Pressed", details["press"]), row("Released", details)]
        case "mousedown":
            return [row("Pressed", details)]
        case "mouseup":
            return [row("Released", details)]
        case "mousemove" | "wheel":
            return [row(details["state"], details)]
        case other:
            raise AssertionError(other)


class EventsTests(SynchronousTestCase):
    @given(rows_as_text)
    def test_every_row_is_in_exactly_one_event_and_order_is_kept(self, rows: list[tuple]) -> None:
        # The record timestamp is the row's number, so that each row is itself.
        table = [(float(number), *row) for number, row in enumerate(rows)]
        events = events_of(*(",".join(map(str, row)) for row in table))

        self.assertEqual(Counter(row for event in events for row in rows_in(event)), Counter(table))
        last_rows = [rows_in(event)[-1][0] for event in events]
        self.assertEqual(last_rows, sorted(last_rows))
        for event in events:
            elapsed = event["eventDetails"]["elapsed"]
            self.assertEqual(event["clientDateTime"], START + round(elapsed * 1000))
            self.assertEqual(event["eventType"], "interactionEvent")

    @given(rows_as_text)
    def test_a_press_waits_for_its_release_only(self, rows: list[tuple]) -> None:
        """No press stays alone where the button's next press-or-release is a release, and the reverse."""
        clicks = 0
        down: set[str] = set()
        for _, button, state, _, _ in rows:
            if state == "Released":
                clicks += button in down
                down.discard(button)
            elif state == "Pressed":
                down.add(button)
        events = events_of(*(f"0.0,{','.join(map(str, row))}" for row in rows))
        self.assertEqual(sum(event["eventDetails"]["type"] == "click" for event in events), clicks)

    def test_click(self) -> None:
        (event,) = events_of("0.1,0.109000000171,Left,Pressed,1,2", "0.2,0.2185,Left,Released,3,4")
        self.assertEqual(
            event,
            {
                "clientDateTime": START + 218,
                "eventType": "interactionEvent",
                "eventDetails": {
                    "type": "click",
                    "button": "Left",
                    "x": 3,
                    "y": 4,
                    "elapsed": 0.2185,
                    "recorded": 0.2,
                    "press": {"x": 1, "y": 2, "elapsed": 0.109000000171, "recorded": 0.1},
                },
            },
        )

    def test_the_events_between_press_and_release_come_first(self) -> None:
        events = events_of(
            "0,0,Left,Pressed,1,1", "0,0,NoButton,Drag,2,2", "0,0,Scroll,Down,3,3", "0,0,Left,Released,4,4"
        )
        kinds = [event["eventDetails"]["type"] for event in events]
        self.assertEqual(kinds, ["mousemove", "wheel", "click"])

    def test_alone(self) -> None:
        events = events_of(
            "0,0,Right,Released,1,1",
            "0,1,Left,Pressed,2,2",
            "0,2,NoButton,Move,3,3",
            "0,3,Left,Pressed,4,4",
            "0,4,Left,Released,5,5",
            "0,5,Left,Pressed,6,6",
        )
        told = [(event["eventDetails"]["type"], event["eventDetails"]["x"]) for event in events]
        self.assertEqual(
            told, [("mouseup", 1), ("mousedown", 2), ("mousemove", 3), ("click", 5), ("mousedown", 6)]
        )

    def test_reads_no_further_than_it_must(self) -> None:
        def lines():
            yield TITLE
            yield b"0,0,NoButton,Move,1,1"
            yield b"0,0,Left,Pressed,2,2"
            yield b"0,0,Left,Pressed,3,3"
            yield b"0,0,Left,Released,4,4"
            raise AssertionError("read on")

        events = to_events(read_rows(lines(), "a.csv"), START)
        self.assertEqual([next(events)["eventDetails"]["x"] for _ in range(3)], [1, 2, 4])


class FilesTests(SynchronousTestCase):
    def test_real_sessions_keep_every_row(self) -> None:
        files = sorted(DATA.glob("*.csv"))
        self.assertTrue(files)
        for path in files:
            with path.open(newline="") as file:
                table = [
                    (float(recorded), float(elapsed), button, state, int(x), int(y))
                    for recorded, elapsed, button, state, x, y in list(csv.reader(file))[1:]
                ]
            events = list(read_events(path, START))
            self.assertEqual(Counter(row for event in events for row in rows_in(event)), Counter(table), path)

    def test_times_are_written_as_in_the_file(self) -> None:
        path = DATA / "user12-session_0032069206.csv"
        with path.open(newline="") as file:
            written = {row[1] for row in list(csv.reader(file))[1:]}
        for event in read_events(path, START):
            self.assertIn(repr(event["eventDetails"]["elapsed"]), written | {f"{text}.0" for text in written})


class MalformedTests(SynchronousTestCase):
    def refused(self, line: int, *lines: bytes) -> str:
        error = self.assertRaises(MalformedRow, list, read_rows(lines, "some/a.csv"))
        self.assertIsInstance(error, ValueError)
        self.assertEqual((error.name, error.line), ("some/a.csv", line))
        self.assertTrue(str(error).startswith(f"some/a.csv:{line}: "), str(error))
        self.assertNotIn("\n", str(error))
        return str(error)

    def test_headers(self) -> None:
        self.refused(1)
        self.refused(1, b"record timestamp,x,y\n")
        self.refused(1, b"0.0,0.0,NoButton,Move,118,424\n")

    def test_rows(self) -> None:
        good = b"0.0,0.0,NoButton,Move,1,1\n"
        for row in (
            b"\n",
            b"0.0,0.0,NoButton,Move,1\n",
            b"0.0,0.0,NoButton,Move,1,1,1\n",
            b"soon,0.0,NoButton,Move,1,1\n",
            b"0.0,nan,NoButton,Move,1,1\n",
            b"0.0,1e999,NoButton,Move,1,1\n",
            b"0.0,1e13,NoButton,Move,1,1\n",
            b"0.0,1_0,NoButton,Move,1,1\n",
            b"0.0,,NoButton,Move,1,1\n",
            b"0.0,0.0,,Move,1,1\n",
            b"0.0,0.0,NoButton,Moved,1,1\n",
            b"0.0,0.0,NoButton,Move,1.5,1\n",
            b"0.0,0.0,NoButton,Move,1,\n",
            b"0.0,0.0,NoButton,Move,1," + b"9" * 5000,
            b"0.0,0.0,No\xffButton,Move,1,1\n",
            b'0.0,0.0,"No"Button,Move,1,1\n',
        ):
            self.refused(3, TITLE, good, row)

    def test_rows_before_it_are_read(self) -> None:
        rows = read_rows([TITLE, b"0.0,0.0,NoButton,Move,7,1\n", b"broken\n"], "a.csv")
        self.assertEqual(next(rows).x, 7)
        self.assertRaises(MalformedRow, next, rows)

    def test_missing_file(self) -> None:
        self.assertRaises(OSError, list, read_events(DATA / "none.csv", START))
