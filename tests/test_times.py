"""Client times, to milliseconds and back."""

import math
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.dialects.times import MAX_TIME, _from_iso_8601, to_iso_8601, to_milliseconds, usual

# Generated tests find mistakes, not slowness.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

T = 1_795_306_226_888
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def js_iso(ms: int) -> str:
    """``new Date(ms).toISOString()`` after ECMAScript's own arithmetic (year from day, month by month)."""
    days, rest = divmod(ms, 86_400_000)
    # Civil from days, proleptic Gregorian, eras of 400 years that begin in March.
    era, day = divmod(days + 719_468, 146_097)
    year_of_era = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day_of_year = day - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = year_of_era + era * 400 + (month <= 2)
    shown = f"{year:04d}" if 0 <= year <= 9999 else f"{'-' if year < 0 else '+'}{abs(year):06d}"
    seconds, ms = divmod(rest, 1000)
    return (
        f"{shown}-{month:02d}-{day_of_year - (153 * shifted + 2) // 5 + 1:02d}"
        f"T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{ms:03d}Z"
    )


class JavaScriptTests(SynchronousTestCase):
    def test_the_reference(self) -> None:
        """What Chromium's Date says."""
        for ms, text in [
            (0, "1970-01-01T00:00:00.000Z"),
            (T, "2026-11-22T00:10:26.888Z"),
            (MAX_TIME, "+275760-09-13T00:00:00.000Z"),
            (-MAX_TIME, "-271821-04-20T00:00:00.000Z"),
            (-62_167_219_200_000, "0000-01-01T00:00:00.000Z"),
            (-62_167_219_200_001, "-000001-12-31T23:59:59.999Z"),
            (-62_135_596_800_001, "0000-12-31T23:59:59.999Z"),
            (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (253_402_300_800_000, "+010000-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        ]:
            self.assertEqual(js_iso(ms), text)
            self.assertEqual(to_iso_8601(ms), text)
            self.assertEqual(to_milliseconds(text), ms)

    @unhurried
    @given(st.integers(-MAX_TIME, MAX_TIME))
    @example(-62_167_219_200_000)
    def test_round_trip(self, ms: int) -> None:
        self.assertEqual(to_iso_8601(ms), js_iso(ms))
        self.assertEqual(to_milliseconds(js_iso(ms)), ms)

    def test_far_years_that_are_none(self) -> None:
        for text in [
            "-000000-01-01T00:00:00.000Z",
            "+275760-09-13T00:00:00.001Z",
            "-271821-04-19T23:59:59.999Z",
            "+999999-01-01T00:00:00.000Z",
            "+2026-01-01T00:00:00Z",
            "+02026-01-01T00:00:00Z",
            "10000-01-01T00:00:00Z",
            "+001900-02-29T00:00:00Z",
            "+010000-01-01",
        ]:
            self.assertIsNone(to_milliseconds(text), text)
        self.assertEqual(to_milliseconds("+002026-11-22T00:10:26.888Z"), T)


class NumberTests(SynchronousTestCase):
    def test_seconds_below_1e11_and_milliseconds_from_there(self) -> None:
        for given_, ms in [
            (0, 0),
            (-0.0, 0),
            (1, 1000),
            (1.5, 1500),
            (0.0004, 0),
            (-1, -1000),
            (1_795_306_226, 1_795_306_226_000),
            (1_795_306_226.888, T),
            (T, T),
            (float(T), T),
            (T + 0.4, T),
            (99_999_999_999, 99_999_999_999_000),
            (100_000_000_000, 100_000_000_000),
            (1e11, 100_000_000_000),
            (-T / 1000, -T),
            (MAX_TIME, MAX_TIME),
            (float(MAX_TIME), MAX_TIME),
            (-MAX_TIME // 1000, -MAX_TIME),
        ]:
            self.assertEqual(to_milliseconds(given_), ms, given_)
            self.assertEqual(to_milliseconds(repr(given_)), ms, given_)
            self.assertIs(type(to_milliseconds(given_)), int)

    def test_too_far(self) -> None:
        for number in [
            MAX_TIME + 1,
            MAX_TIME * 10,
            10**400,
            -MAX_TIME,
            -(MAX_TIME // 1000) - 1,
            -(10**400),
            1e300,
        ]:
            self.assertIsNone(to_milliseconds(number), number)
            self.assertIsNone(to_milliseconds(str(number)), number)
        for number in [math.inf, -math.inf, math.nan]:
            self.assertIsNone(to_milliseconds(number))

    def test_numeric_strings(self) -> None:
        for text, ms in [("1795306226888", T), ("1.795306226888e12", T), ("1E3", 1_000_000), ("007", 7000)]:
            self.assertEqual(to_milliseconds(text), ms, text)
        for text in [
            "",
            " ",
            " 1",
            "1 ",
            "+1",
            ".5",
            "1.",
            "1e",
            "0x10",
            "1_000",
            "NaN",
            "Infinity",
            "1e999",
        ]:
            self.assertIsNone(to_milliseconds(text), text)
        self.assertIsNone(to_milliseconds("\u0661"), "digits of other scripts")
        self.assertIsNone(to_milliseconds("9" * 100_000))

    @unhurried
    @given(st.integers(10**11, MAX_TIME))
    def test_milliseconds_are_taken_exactly(self, ms: int) -> None:
        self.assertEqual(to_milliseconds(ms), ms)
        self.assertEqual(to_milliseconds(str(ms)), ms)

    @unhurried
    @given(st.floats(-8.64e12, 1e11, exclude_max=True))
    def test_seconds(self, seconds: float) -> None:
        self.assertEqual(to_milliseconds(seconds), round(seconds * 1000))

    @unhurried
    @given(st.integers() | st.floats())
    def test_any_number_is_in_range_or_none(self, number: float) -> None:
        ms = to_milliseconds(number)
        self.assertTrue(ms is None or -MAX_TIME <= ms <= MAX_TIME)


class TextTests(SynchronousTestCase):
    def test_iso_8601(self) -> None:
        for text in [
            "2026-11-22T00:10:26.888Z",
            "2026-11-22 00:10:26.888",
            "2026-11-22T00:10:26.888",
            "2026-11-22T00:10:26,888Z",
            "2026-11-22T00:10:26.888999Z",
            "2026-11-22T02:10:26.888+02:00",
            "2026-11-22T02:10:26.888+0200",
            "2026-11-22T02:10:26.888+02",
            "2026-11-21T18:40:26.888-05:30",
            "20261122T001026.888Z",
            "2026-W47-7T00:10:26.888Z",
        ]:
            self.assertEqual(to_milliseconds(text), T, text)
        self.assertEqual(to_milliseconds("2026-11-22T00:10Z"), T - 26_888)

    def test_malformed(self) -> None:
        for text in [
            "2026-11-22",
            "2026-11-22T",
            "T00:10:26Z",
            "2026-11-22_00:10:26Z",
            "2026-11-22t00:10:26Z",
            "2026-11-22  00:10:26Z",
            "2026-11-22T00:10:26Z ",
            "2026-11-22T00:10:26 Z",
            "2026-13-22T00:10:26Z",
            "2026-02-29T00:10:26Z",
            "2026-11-22T25:10:26Z",
            "2026-11-22T00:61:26Z",
            "2026-11-22T00:10:26+25:00",
            "2026-11-22T00:10:26 UTC",
            "Sun Nov 22 2026 00:10:26 GMT",
            "yesterday",
            "now T",
            "\u0662026-11-22T00:10:26Z",
            "2026-11-22T00:10:26Z" + " " * 1000,
        ]:
            self.assertIsNone(to_milliseconds(text), text)

    def test_the_edges_of_the_calendar_with_a_zone(self) -> None:
        self.assertEqual(to_milliseconds("0001-01-01T00:00:00+10:00"), -62_135_596_800_000 - 36_000_000)
        self.assertEqual(to_milliseconds("9999-12-31T23:59:59.999-10:00"), 253_402_300_799_999 + 36_000_000)

    @unhurried
    @given(
        st.datetimes(timezones=st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m)))),
        st.sampled_from("T "),
    )
    def test_any_zone(self, moment: datetime, separator: str) -> None:
        expected = (moment - EPOCH) // timedelta(milliseconds=1)
        self.assertEqual(to_milliseconds(moment.isoformat(separator)), expected)

    @unhurried
    @given(st.text() | st.text("0123456789-+:.TZWe ,", max_size=30))
    def test_any_text_is_in_range_or_none(self, text: str) -> None:
        ms = to_milliseconds(text)
        self.assertTrue(ms is None or -MAX_TIME <= ms <= MAX_TIME)

    @unhurried
    @given(
        st.datetimes().map(lambda moment: moment.isoformat(timespec="milliseconds") + "Z")
        | st.from_regex(r"\A\d{4}-[01]\d-[0-3]\d[T ][0-2]\d:[0-6]\d:[0-6]\d[.,]\d{3}Z?\Z")
        | st.from_regex(r"\A[0-9W:.+ -]{10}T[0-9:.,+TZ\0-]{11,12}Z\Z")
    )
    @example("2026-11-22T001026.88888Z")
    @example("2026-11-22T00,0265888T8Z")
    @example("2026-11-22T00:10:26.8Z\0Z")
    @example("2126-11-22T00:Z\0:26.888Z")
    @example("2026-W47-7T00:10:26.888Z")
    @example("2026-11-22T00:10:26+0100Z")
    def test_the_quick_way_says_the_same(self, text: str) -> None:
        moment = usual(text)
        careful = _from_iso_8601(text)
        if moment is not None:
            self.assertEqual((moment - EPOCH) // timedelta(milliseconds=1), careful)
        elif careful is not None:
            # Nothing that a browser writes, in the years that datetime knows, takes the long way.
            self.assertTrue(to_iso_8601(careful) != text or text[:4] == "0000")
