"""A commit in the making: what it will write, and how to take it back."""

from __future__ import annotations

import msgspec
from attrs import define, field

from logui_tx.journal.entry import SessionHandle
from logui_tx.journal.segment import Record


class Progress(msgspec.Struct, gc=False):
    """What a commit adds to a session."""

    last_activity: int
    version: int
    events: int = 0
    size: int = 0
    last_seq: int = 0


@define
class Group:
    """A commit in the making."""

    records: list[Record] = field(factory=list)
    messages: list[bytes] = field(factory=list)
    progress: dict[int, Progress] = field(factory=dict)
    instances: dict[tuple[int, str], int] = field(factory=dict)
    ended: dict[int, tuple[int, str]] = field(factory=dict)
    refused: dict[int, bytes] = field(factory=dict)
    before: list[tuple[SessionHandle, int | None, bool, bytes | None, int]] = field(factory=list)

    def remember(self, handle: SessionHandle) -> None:
        """Note how a handle stands before it is changed."""
        self.before.append((handle, handle.number, handle.open, handle.app_data, handle.version))

    def take_back(self) -> None:
        """Set all handles back: the commit failed."""
        for handle, number, is_open, app_data, version in reversed(self.before):
            handle.number, handle.open = number, is_open
            handle.app_data, handle.version = app_data, version
