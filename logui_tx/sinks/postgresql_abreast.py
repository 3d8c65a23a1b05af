"""A large batch, copied over several connections at once: each has a process of PostgreSQL's to itself, and
one takes no more than some ten thousand rows a second.

All from one thread, piece by piece in turn. The server does not know that the transactions wait for each
other here, and would not notice if one could not go on before another ends; so there must be nothing to wait
for: each has its lock at once or none is used, triggers and other keys may not be there, and who waits for a
lock all the same gives up after a second. The transactions end in the order of their rows: who reads on
behind the last key misses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from itertools import pairwise, zip_longest
from typing import Any

import psycopg
from attrs import evolve
from psycopg.copy import LibpqWriter

from logui_tx.model import SinkBatch
from logui_tx.sinks.postgresql_rows import copy_rows
from logui_tx.sinks.postgresql_tables import Tables, copy_directly, may_copy_abreast


def put_abreast(
    connections: Iterable[psycopg.Connection[Any]],
    tables: Tables,
    batch: SinkBatch,
    jsonb: Callable[[bytes], str],
    before_the_last: Callable[[psycopg.Connection[Any]], None],
) -> bool:
    """Whether the batch's events are in the table; if not, none is. ``before_the_last`` may write more.

    Of the ``connections`` the next is asked for only where the table allows it.

    Raises :class:`RecordsRefused` as :func:`copy_rows`, and what psycopg raises: then some may be there.
    """
    with ExitStack() as unless_done:
        transactions, used = [], []
        for connection in connections:
            used.append(connection)
            transaction = unless_done.enter_context(ExitStack())
            transaction.enter_context(connection.transaction())
            transactions.append(transaction)
            if not may_copy_abreast(connection, tables):
                return False
        with ExitStack() as copying:
            copies, statement = [], copy_directly(tables)
            for connection in used:
                cursor = connection.cursor()
                # What is written leaves at once: its server has something to do while others are written to.
                writer = LibpqWriter(cursor, flush_threshold=0)
                copies.append(copying.enter_context(cursor.copy(statement, writer=writer)))
            for pieces in zip_longest(*(copy_rows(part, jsonb) for part in _parts(batch, len(copies)))):
                for copy, piece in zip(copies, pieces, strict=True):
                    if piece is not None:
                        copy.write(piece)
        before_the_last(used[-1])
        for transaction in transactions:
            transaction.close()
    return True


def _parts(batch: SinkBatch, count: int) -> list[SinkBatch]:
    """Its events, one part behind the other, about as many in each."""
    cuts = [len(batch.records) * number // count for number in range(count + 1)]
    return [evolve(batch, records=batch.records[start:stop]) for start, stop in pairwise(cuts)]
