"""How far a command is, where someone looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_STEPS = 1_000


@contextmanager
def bar(total: int, *, in_bytes: bool = False) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, gone at the end; gives what is to be told of every step. ``total`` 0 is not known."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TimeRemainingColumn,
    )

    count = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = (BarColumn(), TaskProgressColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total or None)
        # The bar takes longer than the writing of a message: it is told of many at once.
        step = max(total // _STEPS, 1)
        waiting = 0

        def advance(steps: int) -> None:
            nonlocal waiting
            waiting += steps
            if waiting >= step:
                progress.advance(task, waiting)
                waiting = 0

        yield advance
