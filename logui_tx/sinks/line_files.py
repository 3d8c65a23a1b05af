"""Lines in files that outlast a crash of either end: it is always known how much of each file is good.

A file is written as ``KIND_FLIGHT_DAY_NUMBER.jsonl.part``, in plain text. When it is large or old, or its
day is over, it is finished: compressed in one piece where that is wanted, and named without ``.part``. From
then on it is never touched. Numbers rise, so that what was written after a state was saved can be told from
the rest.

Everything here blocks, and is for one thread at a time. What the disk does not do is an OSError.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import msgspec
import zstandard
from twisted.logger import Logger

from logui_tx.errors import SinkAway

log = Logger()

LOCK = ".logui-sink"
"""Holds the ids of the journal whose events are in the folder, a line each; locked while they are written."""

MOST_OPEN = 500
"""Files that are written at a time, unless one call needs more: all of them are in the state, which is saved
with each batch."""

PART = ".part"
_NEW = ".new"
_ENDINGS = {"none": "", "gzip": ".gz", "zstd": ".zst"}
_NUMBERED = re.compile(r".+_(\d{6,18})\.jsonl(?:\.gz|\.zst)?(\.part|\.new)?")
_LONGEST_WORD = 120
_KEPT = 50
_CHUNK = 1 << 20


class Stream(msgspec.Struct, frozen=True):
    """What goes into one file after the other; in words that are :func:`safe`."""

    kind: str
    flight: str
    day: str


class Written(msgspec.Struct, frozen=True):
    """A file that is being written: ``length`` bytes are good; ``began`` and ``last`` are UNIX seconds."""

    stream: Stream
    number: int
    length: int
    began: float
    last: float

    @property
    def name(self) -> str:
        """Without what the file is called while it is written, or once it is compressed."""
        stream = self.stream
        return f"{stream.kind}_{stream.flight}_{stream.day}_{self.number:06}.jsonl"


class State(msgspec.Struct, frozen=True):
    """All files that are being written, and the number of the next one."""

    next: int = 0
    files: tuple[Written, ...] = ()


class LineFiles:
    """The files of one folder. ``now`` gives UNIX seconds; ``rotate`` is in bytes, ``rotate_age`` in seconds
    (0 for any age); ``mode`` is the folder's."""

    def __init__(
        self,
        folder: Path,
        now: Callable[[], float],
        *,
        rotate: int,
        rotate_age: float,
        compress: str,
        fsync: bool,
        mode: int,
    ) -> None:
        self.state = State()
        self._folder = folder
        self._now = now
        self._rotate = rotate
        self._rotate_age = rotate_age
        self._compress = compress
        self._fsync = fsync
        self._mode = mode
        self._lock: IO[bytes] | None = None

    # --- whose the folder is

    def make(self) -> None:
        """The folder, if it is not there yet; its parent must be."""
        if not self._folder.is_dir():
            self._folder.mkdir(mode=0o700)
            # Without the umask.
            self._folder.chmod(self._mode)

    def claim(self) -> None:
        """Lock the folder; raises :class:`SinkAway` where another server writes there."""
        path = self._folder / LOCK
        if self._lock is not None:
            if path.exists() and os.path.samestat(path.stat(), os.fstat(self._lock.fileno())):
                return
            self.release()
        lock = os.fdopen(self._descriptor(path, os.O_RDWR | os.O_CREAT), "r+b", buffering=0)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise SinkAway(f"{self._folder}: another server, or another sink, writes there") from None
        self._lock = lock

    def belong(self, journal_id: str, before: str = "") -> None:
        """Note whose events are there; raises :class:`SinkAway` where they are another journal's.

        ``before`` is an id that the same journal had. Both stand there: which of them the saved state names
        after a crash is not known yet.
        """
        assert self._lock is not None
        self._lock.seek(0)
        found = set(self._lock.read(200).decode(errors="replace").split())
        ids = {journal_id, before or journal_id}
        if not found or (found != ids and found & ids and before):
            self._lock.seek(0)
            self._lock.truncate()
            self._lock.write("".join(f"{one}\n" for one in sorted(ids)).encode())
        elif not found & ids:
            raise SinkAway(
                f"{self._folder}: holds another journal's events; choose another folder, or remove its {LOCK}"
            )

    def release(self) -> None:
        """Let others write there."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # --- what is good

    def restore(self, state: State | None) -> None:
        """Make the folder as it was in ``state``, except that finished files stay; None begins anew."""
        following = 1 if state is None else state.next
        for path, number, more in list(self._numbered()):
            if more == _NEW or (more == PART and state is not None and number >= state.next):
                path.unlink()
            else:
                following = max(following, number + 1)
        files = () if state is None else tuple(one for one in state.files if self._restored(one))
        self.state = State(following, files)

    def _numbered(self) -> Iterator[tuple[Path, int, str | None]]:
        """Each file of ours, its number, and whether it is :data:`PART` or not even that."""
        for path in self._folder.iterdir():
            match = _NUMBERED.fullmatch(path.name)
            if match is not None:
                yield path, int(match[1]), match[2]

    def _restored(self, file: Written) -> bool:
        """Whether the file goes on."""
        part = self._part(file)
        if any((self._folder / (file.name + ending)).exists() for ending in _ENDINGS.values()):
            part.unlink(missing_ok=True)
            return False
        try:
            size = part.stat().st_size
        except FileNotFoundError:
            log.warn("{file} is gone; what comes now goes into another file", file=str(part))
            return False
        if size < file.length:
            log.warn("{file} has become shorter; what comes now goes into another file", file=str(part))
            self._finish(file)
            return False
        os.truncate(part, file.length)
        return True

    # --- writing

    def write(self, lines: Mapping[Stream, bytes]) -> None:
        """Append to each stream's file; what is large, old, or of an earlier day is finished before.

        Raises OSError; then :meth:`restore` is to be called before anything else.
        """
        kinds = {one.kind for one in lines}
        first = {kind: min(one.day for one in lines if one.kind == kind) for kind in kinds}
        self._finish_all(lambda one: self._full(one) or one.stream.day < first.get(one.stream.kind, ""))
        self._finish_all(self._too_many(set(lines)).__contains__)
        files = {one.stream: one for one in self.state.files}
        following, now = self.state.next, self._now()
        for stream, text in lines.items():
            file = files.get(stream)
            if file is not None and not self._part(file).exists():
                log.warn("{file} is gone; another one is begun", file=str(self._part(file)))
                file = None
            if file is None:
                file = Written(stream, following, 0, now, now)
                following += 1
            self._append(file, text)
            length = file.length + len(text)
            files[stream] = msgspec.structs.replace(file, length=length, last=now)
        self._sync_folder()
        self.state = State(following, tuple(sorted(files.values(), key=lambda one: one.number)))

    def _finish_all(self, due: Callable[[Written], bool]) -> None:
        """Finish the files that are ``due``."""
        for file in filter(due, self.state.files):
            self._finish(file)
            self.state = State(self.state.next, tuple(one for one in self.state.files if one != file))

    def _too_many(self, written: AbstractSet[Stream]) -> set[Written]:
        """Of the files that are not ``written`` now those that have rested longest, so that few are open."""
        others = [one for one in self.state.files if one.stream not in written]
        others.sort(key=lambda one: (one.last, one.number))
        return set(others[: max(0, len(others) + len(written) - MOST_OPEN)])

    def finish_resting(self, rested: float) -> None:
        """Finish what is old or of an earlier day, and was not written for ``rested`` seconds."""
        now = self._now()
        today = day(now)
        self._finish_all(lambda one: now - one.last >= rested and (one.stream.day < today or self._full(one)))

    def _full(self, file: Written) -> bool:
        old = self._rotate_age and self._now() - file.began >= self._rotate_age
        return bool(file.length >= self._rotate or old)

    def _part(self, file: Written) -> Path:
        return self._folder / (file.name + PART)

    def _append(self, file: Written, text: bytes) -> None:
        new = os.O_CREAT | os.O_TRUNC if file.length == 0 else 0
        with self._opened(self._part(file), os.O_WRONLY | os.O_APPEND | new) as part:
            part.write(text)
            self._sync(part)

    def _finish(self, file: Written) -> None:
        part = self._part(file)
        finished = self._folder / (file.name + _ENDINGS[self._compress])
        if not part.exists():
            log.warn("{file} is gone", file=str(part))
            return
        if self._compress == "none":
            part.rename(finished)
            return
        new = finished.with_name(finished.name + _NEW)
        with part.open("rb") as source, self._opened(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as target:
            with _compressing(self._compress, target, file.length) as compressing:
                shutil.copyfileobj(source, compressing, _CHUNK)
            self._sync(target)
        new.rename(finished)
        self._sync_folder()
        part.unlink()

    def _opened(self, path: Path, flags: int) -> IO[bytes]:
        return os.fdopen(self._descriptor(path, flags), "wb")

    def _descriptor(self, path: Path, flags: int) -> int:
        new = flags & os.O_CREAT and not path.exists()
        descriptor = os.open(path, flags, 0o600)
        if new:
            # Without the umask.
            os.fchmod(descriptor, self._mode & 0o666)
        return descriptor

    def _sync(self, file: IO[bytes]) -> None:
        file.flush()
        if self._fsync:
            os.fsync(file.fileno())

    def _sync_folder(self) -> None:
        if self._fsync:
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def safe(text: str) -> str:
    """A part of a file's name that tells ``text``; nothing in it is special to anything."""
    quoted = quote(text, safe="", errors="surrogatepass")
    for character in "._~":
        quoted = quoted.replace(character, f"%{ord(character):02X}")
    if len(quoted) <= _LONGEST_WORD:
        return quoted
    return f"{quoted[:_KEPT]}-{hashlib.sha256(quoted.encode()).hexdigest()}"


def day(seconds: float) -> str:
    """The day of a UNIX time, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def _compressing(how: str, target: IO[bytes], size: int) -> Any:
    if how == "gzip":
        return gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0)
    return zstandard.ZstdCompressor(write_checksum=True).stream_writer(target, size=size, closefd=False)
