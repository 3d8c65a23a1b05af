"""What each server knows of a session that several share, and what they know together.

Every server keeps its own view of a session in the session store and writes no other's; whoever goes on with
the session puts all views, and its own journal, together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from attrs import NOTHING, fields, frozen

from logui_tx.journal.entry import SessionRow
from logui_tx.journal.state import SessionState


class View(msgspec.Struct, frozen=True):
    """How a session stands as far as one server has committed it.

    ``row`` is its :class:`SessionRow` as a dict; ``numbers`` the blocks of sequence numbers that the server
    holds, ``last_seq`` the last one known to be given; ``app_data`` is encoded, ``app_data_version`` and
    ``app_data_server`` tell which change it is of; ``payload_ids`` and ``refused`` are by instance, as in
    :class:`SessionState`; ``open`` until the session rests: then the server gave back what it had not used of
    ``numbers``, if it could.
    """

    row: dict[str, Any]
    last_activity: int
    last_seq: int
    numbers: list[tuple[int, int]]
    app_data: bytes
    app_data_version: int
    app_data_server: str
    payload_ids: dict[str, int]
    refused: dict[str, list[int]] = {}
    end_reason: str | None = None
    open: bool = False


_ROW = [each.name for each in fields(SessionRow)]
_NEEDED = {each.name for each in fields(SessionRow) if each.default is NOTHING}

encode_view = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(View).decode


def decode_views(written: Mapping[str, bytes]) -> dict[str, View]:
    """The views by server; one that cannot be read (of another version, or damaged) is left out."""
    views = {}
    for server, text in written.items():
        try:
            view = _decode(text)
            row = {name: view.row[name] for name in _ROW if name in view.row or name in _NEEDED}
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
            continue
        views[server] = msgspec.structs.replace(view, row=row)
    return views


@frozen
class Whole:
    """What all views and the journal tell together.

    ``state`` bears the journal's own number and version, 0 where this journal does not know the session, and
    ``journal_data`` is that version; ``numbers`` are this server's blocks that may still be used; ``others``
    the servers where it is open; ``kept`` whether the session store knew it at all.
    """

    state: SessionState
    journal_data: bytes | None
    kept: bool
    app_data_version: int
    app_data_server: str
    numbers: list[tuple[int, int]]
    others: frozenset[str]


def put_together(
    views: Mapping[str, View], reserved: int | None, found: SessionState | None, server: str
) -> Whole | None:
    """``found`` is what the journal of this ``server`` knows. None where nobody knows the session.

    ``reserved`` is the last number of all blocks that are held, None where the store is away: then a view of
    this server's waits to be written, and nothing was given back yet.

    None too where this server's view tells that the journal had it, and it has not: then it was erased.
    """
    own = views.get(server)
    if found is None and (own is not None or not views):
        return None
    others = {name: view for name, view in views.items() if name != server}
    everybody: list[View | SessionState] = [*views.values(), *([found] if found is not None else [])]
    payload_ids = _highest(each.payload_ids for each in everybody)
    last_seq = max(each.last_seq for each in everybody)
    data, version, by = _app_data(own, others, found, server)
    latest = max(everybody, key=lambda each: (each.last_activity, each.end_reason is not None, each is found))
    is_open = any(view.open for view in others.values())
    state = SessionState(
        # All servers copy the row of the one where the session began.
        row=found.row if found is not None else next(iter(others.values())).row,
        number=found.number if found is not None else 0,
        version=found.version if found is not None else 0,
        last_activity=latest.last_activity,
        last_seq=last_seq,
        app_data=data,
        payload_ids=payload_ids,
        end_reason=None if is_open else latest.end_reason,
        refused=_still_refused((each.refused for each in everybody), payload_ids),
    )
    # What was given back may be another's by now, whatever is reserved.
    held = own.numbers if own is not None and (own.open or reserved is None) else []
    # A block below what another server gave since would make the sequence go back.
    usable = [
        (first, end)
        for first, end in held
        if first - 1 <= last_seq < end and (reserved is None or end <= reserved)
    ]
    return Whole(
        state=state,
        journal_data=found.app_data if found is not None else None,
        kept=bool(views),
        app_data_version=version,
        app_data_server=by,
        numbers=usable,
        others=frozenset(name for name, view in others.items() if view.open),
    )


def _app_data(
    own: View | None, others: Mapping[str, View], found: SessionState | None, server: str
) -> tuple[bytes, int, str]:
    """The data of the last change, its version and the server that made it.

    The journal may know more than this server's own view (it is written first), but not of which change.
    """
    newest = max(others.values(), key=_version, default=None)
    if found is None:
        assert newest is not None
        return newest.app_data, newest.app_data_version, newest.app_data_server
    if own is None:
        if newest is not None and newest.last_activity > found.last_activity:
            return newest.app_data, newest.app_data_version, newest.app_data_server
        return found.app_data, newest.app_data_version + 1 if newest is not None else 0, server
    if newest is not None and _version(newest) > _version(own):
        return newest.app_data, newest.app_data_version, newest.app_data_server
    if found.app_data != own.app_data:
        return found.app_data, own.app_data_version + 1, server
    return own.app_data, own.app_data_version, own.app_data_server


def _version(view: View) -> tuple[int, str]:
    return view.app_data_version, view.app_data_server


def _highest(many: Iterable[Mapping[str, int]]) -> dict[str, int]:
    highest: dict[str, int] = {}
    for payload_ids in many:
        for instance, last in payload_ids.items():
            highest[instance] = max(last, highest.get(instance, 0))
    return highest


def _still_refused(
    many: Iterable[Mapping[str, list[int]]], stored: Mapping[str, int]
) -> dict[str, list[int]]:
    """What one server refused another may have stored since."""
    refused: dict[str, set[int]] = {}
    for by_instance in many:
        for instance, ids in by_instance.items():
            refused.setdefault(instance, set()).update(ids)
    return {
        instance: sorted(left)
        for instance, ids in refused.items()
        if (left := {payload_id for payload_id in ids if payload_id > stored.get(instance, 0)})
    }
