"""Times as users write them."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime

import click


def read_time(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """A date, a date and time in ISO 8601 (UTC where it names no zone), or UNIX seconds or ms; to UNIX ms."""
    from logui_tx.dialects.times import to_milliseconds

    if value is None:
        return None
    time = to_milliseconds(value)
    if time is None:
        with suppress(ValueError):
            day = date.fromisoformat(value)
            time = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
    if time is None:
        text = f"{value!r} is not a time such as 2026-11-22 or 2026-11-22T09:30:00Z."
        raise click.BadParameter(text, ctx, param)
    return time
