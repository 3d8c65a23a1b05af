"""Steps on the way to a sink: what is changed, and that nothing else is."""

from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from logui_tx.delivery.find import make_steps, step_makers
from logui_tx.errors import BadOption
from logui_tx.interfaces import IStep, IStepMaker
from logui_tx.model import Record
from logui_tx.sinks.steps import FieldStep, canonical, changed, shortened
from logui_tx.testing import make_record, make_session
from tests.test_export_records import names, unhurried, values

EVENT = b'{"a":1.50, "b" : {"c.d":"x","e":[1e400]},"half":"\\ud83d"}'


class StepsTestCase(SynchronousTestCase):
    def step(self, written: str) -> IStep:
        (step,) = make_steps([written], step_makers())
        verifyObject(IStep, step)
        return step

    def record(self, step: str, event: bytes = EVENT, **more: Any) -> Record:
        found = self.step(step).record(replace(make_record(1, event=event), **more))
        assert found is not None
        return found


def escaped(value: Any) -> str:
    """As JSON in which every character of a text is an escape."""
    import json

    if isinstance(value, str):
        units = value.encode("utf-16-be", "surrogatepass").hex("u", 2)
        return '"' + "".join(f"\\u{unit}" for unit in units.split("u") if unit) + '"'
    if isinstance(value, dict):
        members = " ,".join(f"{escaped(key)} : {escaped(one)}" for key, one in value.items())
        return f"{{{members}}}"
    return f"[{', '.join(map(escaped, value))}]" if isinstance(value, list) else json.dumps(value)


class FieldTests(StepsTestCase):
    def test_drop(self) -> None:
        self.assertEqual(self.record("drop:event.b.e").event, b'{"a":1.50,"b":{"c.d":"x"},"half":"\\ud83d"}')
        self.assertEqual(
            self.record(r"drop:event.b.c\.d").event, b'{"a":1.50,"b":{"e":[1e400]},"half":"\\ud83d"}'
        )
        self.assertEqual(self.record("drop:event").event, b"{}")
        self.assertEqual(self.record("drop:appSpecificLogData.condition").app_data, b"{}")

    def test_application_specific_data_in_an_event(self) -> None:
        """Each event of LogUI 0.5 bears it, too."""
        event = b'{"applicationSpecificData":{"user":"anna","n":1},"n":2}'

        def told(step: str, dialect: str = "logui-0.5") -> tuple[bytes, bytes]:
            found = self.record(step, event, dialect=dialect, app_data=b'{"user":"anna"}')
            return found.app_data, found.event

        self.assertEqual(
            told("drop:appSpecificLogData.user"), (b"{}", b'{"applicationSpecificData":{"n":1},"n":2}')
        )
        self.assertEqual(told("drop:appSpecificLogData"), (b"{}", b'{"n":2}'))
        # To others it says nothing.
        self.assertEqual(told("drop:appSpecificLogData.user", "kraken"), (b"{}", event))
        with TemporaryDirectory() as folder:
            key = Path(folder) / "key"
            key.write_text("k" * 16)
            data, after = told(f"hash:appSpecificLogData.user@{key}")
        self.assertNotIn(b"anna", after)
        self.assertIn(data[1:-1], after)

    def test_what_is_not_there(self) -> None:
        for path in ("event.x", "appSpecificLogData.x", "referrer"):
            found = self.record(f"drop:{path}")
            self.assertEqual((found.event, found.app_data), (EVENT, b'{"condition":"A"}'))

    def test_sessions(self) -> None:
        session = make_session(referrer="https://u:p@h/x?y#z", visitor_id="v", device='{"os":"x"}')
        self.assertIsNone(self.step("drop:visitorID").session(session).visitor_id)
        self.assertEqual(self.step("shorten:referrer").session(session).referrer, "https://h/x")
        self.assertEqual(self.step("drop:appSpecificLogData.condition").session(session).app_data, b"{}")
        for step in ("drop:event.a", "drop:origin", "sample:5"):
            self.assertEqual(self.step(step).session(session), session)

    def test_the_same_data_is_changed_once(self) -> None:
        """All events of a session have it, and it may be much larger than they are."""
        asked: list[bytes] = []

        def change(value: bytes) -> bytes:
            asked.append(value)
            return b"0"

        step = FieldStep(["appSpecificLogData", "user"], change)
        for data in (b'{"user":1}', b'{"user":2}') * 50:
            found = step.record(replace(make_record(1), app_data=bytes(bytearray(data))))
            self.assertEqual(found.app_data, b'{"user":0}')
        self.assertEqual(asked, [b"1", b"2"])

    def test_hash(self) -> None:
        folder = Path(self.enterContext(TemporaryDirectory()))
        (folder / "key").write_text("0123456789abcdef\n")
        (folder / "other").write_text("0123456789abcdeg")
        step = f"hash:event.user@{folder}/key"
        one, same, two = (
            self.record(step, event).event for event in (b'{"user":"a"}', b'{"user": "a"}', b'{"user":1}')
        )
        self.assertEqual(one, same)
        self.assertEqual(one, self.record(step, b'{"user":"\\u0061"}').event)
        self.assertNotEqual(one, two)
        self.assertRegex(one, b'^{"user":"[0-9a-f]{32}"}$')
        self.assertNotEqual(one, self.record(f"hash:event.user@{folder}/other", b'{"user":"a"}').event)
        session = self.step(f"hash:visitorID@{folder}/key").session(make_session(visitor_id="v"))
        self.assertRegex(str(session.visitor_id), "^[0-9a-f]{32}$")
        (folder / "key").write_text("short")
        self.refused(step, "less than 16 characters")
        self.refused(f"hash:event.user@{folder}/none", "No such file")
        self.refused("hash:event.user", "behind an @")

    @unhurried
    @given(values)
    def test_what_is_hashed_is_the_value(self, value: Any) -> None:
        import json

        usual = canonical(json.dumps(value).encode())
        for written in (
            json.dumps(value, ensure_ascii=False, indent=2),
            json.dumps(value, sort_keys=True, separators=(",", ":")),
            escaped(value),
        ):
            self.assertEqual(canonical(written.encode("utf-8", "backslashreplace")), usual)

    def test_values_that_are_others(self) -> None:
        for one, other in (('"1"', "1"), ('"a"', '"b"'), ("[1,2]", "[2,1]"), ('{"a":1}', '{"b":1}')):
            self.assertNotEqual(canonical(one.encode()), canonical(other.encode()))
        self.assertEqual(canonical(b'"a"'), canonical(b' "\\u0061"'))
        self.assertEqual(canonical(b'{"a":"x","b":[1]}'), canonical(b'{ "b" : [ 1 ] , "\\u0061":"x"}'))

    def test_shorten(self) -> None:
        for text, expected in [
            ("192.0.2.77", "192.0.2.0"),
            ("2001:db8:1:2::3", "2001:db8:1::"),
            ("https://a.example/b?c=d#e", "https://a.example/b"),
            ("https://user:word@a.example/b", "https://a.example/b"),
            ("/b?mail=x@y.z", "/b"),
            ("//user:word@a.example/b", "//a.example/b"),
            ("192.0.2.77:4711", "192.0.2.0"),
            ("[2001:db8:1:2::3]:4711", "2001:db8:1::"),
            ("[2001:db8:1:2::3]", "2001:db8:1::"),
            ("::ffff:192.0.2.77", "192.0.2.0"),
            ("fe80::1:2:3:4%eth0", "fe80::"),
            ("192.0.2.77, 2001:db8:1:2::3,unknown", "192.0.2.0, 2001:db8:1::,unknown"),
            ('for="[2001:db8:1:2::3]:47";by=192.0.2.77', 'for="2001:db8:1::";by=192.0.2.0'),
            ("localhost:8081", "localhost:8081"),
            ("12:30", "12:30"),
            ("", ""),
        ]:
            self.assertEqual(shortened(text), expected)
        self.assertEqual(
            self.record("shorten:event.u", b'{"u":"https://a/b?secret=\\ud83d"}').event,
            b'{"u":"https://a/b"}',
        )
        self.assertEqual(
            self.record(
                "shorten:event.u", b'{"u": ["192.0.2.77", 5, "2001:db8:1:2::3", {"a":"192.0.2.77"}]}'
            ).event,
            b'{"u":["192.0.2.0",5,"2001:db8:1::",{"a":"192.0.2.77"}]}',
        )

    @given(st.lists(st.ip_addresses(), min_size=1, max_size=5), st.sampled_from([", ", ",", " ", ";"]))
    def test_no_address_is_left(self, addresses: list[Any], between: str) -> None:
        short = [shortened(str(one)) for one in addresses]
        self.assertEqual(shortened(between.join(map(str, addresses))), between.join(short))
        for address, one in zip(addresses, short, strict=True):
            bracketed = f"[{address}]:80" if address.version == 6 else f"{address}:80"
            self.assertEqual(shortened(bracketed), one)
            self.assertEqual(int(ip_address(one)) % 2**8, 0)

    def test_equal_keys(self) -> None:
        """Each is changed, and nothing else: readers differ in which one they take."""
        event = b'{"x":1,"x":2,"u":{"s":1,"t":2},"u":{"s":3},"u":5,"\\u0075":{"s":4}}'
        self.assertEqual(
            self.record("drop:event.u.s", event).event, b'{"x":1,"x":2,"u":{"t":2},"u":{},"u":5,"u":{}}'
        )
        self.assertEqual(self.record("drop:event.u", event).event, b'{"x":1,"x":2}')
        self.assertEqual(self.record("drop:event.v", event).event, event)

    def test_what_does_not_do(self) -> None:
        self.refused("drop:even.x", "a path begins with event")
        self.refused("drop:", "a path begins with event")
        self.refused("drop:referrer.x", "a path begins with event")
        self.refused("sample:x", "a number of milliseconds")
        self.refused("sample:0", "a number of milliseconds")
        self.refused("drip:event", "known are drop, hash, sample, shorten")

    def refused(self, step: str, why: str) -> None:
        error = self.assertRaises(BadOption, make_steps, [step], step_makers())
        self.assertIn(why, str(error))

    @unhurried
    @given(st.dictionaries(names, values, max_size=4), names)
    def test_only_the_one_field(self, event: dict[str, Any], name: str) -> None:
        import json

        text = json.dumps(event).encode()
        after = json.loads(changed(text, [name], lambda _value: None))
        self.assertEqual(after, {key: value for key, value in event.items() if key != name})


class SampleTests(StepsTestCase):
    def moves(self, step: IStep, event: bytes, dialect: str) -> list[int]:
        found = []
        for n in range(10):
            for session in ("a", "b"):
                record = replace(
                    make_record(n + 1, session, event=event), client_time=1000 + 40 * n, dialect=dialect
                )
                if step.record(record) is not None and session == "a":
                    found.append(n)
        return found

    def test_moves(self) -> None:
        for event, dialect in [
            (b'{"type":1}', "kraken"),
            (b'{"eventDetails":{"type":"mousemove"}}', "logui-0.4"),
            (b'{"eventDetails":{"type":"cursorTracking","trackingType":"positionUpdate"}}', "logui-0.5"),
        ]:
            self.assertEqual(self.moves(self.step("sample:100"), event, dialect), [0, 3, 6, 9])

    def test_all_else(self) -> None:
        for event, dialect in [
            (b'{"type":0}', "kraken"),
            (b'{"type":1}', "logui-0.4"),
            (b'{"eventDetails":{"type":"click"}}', "logui-0.4"),
            (b'{"eventDetails":null}', "logui-0.5"),
            (b'{"eventDetails":{"trackingType":"cursorLeftViewport"}}', "logui-0.5"),
        ]:
            self.assertEqual(self.moves(self.step("sample:100"), event, dialect), list(range(10)))

    def test_a_clock_that_was_set_back(self) -> None:
        step, move = self.step("sample:100"), make_record(1, event=b'{"eventDetails":{"type":"mousemove"}}')
        for time in (10**6, 10**5):
            self.assertIsNotNone(step.record(replace(move, client_time=time)))


class MakerTests(SynchronousTestCase):
    def test_each_example_does(self) -> None:
        makers = step_makers()
        self.assertEqual([maker.name for maker in makers], ["drop", "hash", "sample", "shorten"])
        for maker in makers:
            verifyObject(IStepMaker, maker)
            if maker.name != "hash":
                make_steps([maker.form], makers)
