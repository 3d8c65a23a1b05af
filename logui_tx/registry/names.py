"""How applications and flights may be named. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Container

from logui_tx.errors import RegistryError

MAX_NAME = 200

# Control characters, line and paragraph separators.
_NOT_IN_NAMES = {"Cc", "Zl", "Zp"}
_NEVER = {*_NOT_IN_NAMES, "Cs"}


def checked_name(name: str) -> str:
    """The name as it is kept: stripped, and composed (NFC), so that what looks alike is alike.

    Raises :class:`RegistryError`.
    """
    name = unicodedata.normalize("NFC", name.strip())
    if not name:
        raise RegistryError("a name must not be empty")
    if len(name) > MAX_NAME:
        raise RegistryError(f"a name has at most {MAX_NAME} characters, not {len(name)}")
    categories = {unicodedata.category(character) for character in name}
    if "Cs" in categories:  # half of a surrogate pair: Python's sign for an argument that it could not decode
        raise RegistryError("a name must be text in the encoding of the terminal")
    if categories & _NOT_IN_NAMES:
        raise RegistryError("a name must not hold control characters")
    return name


def cleaned_name(text: str) -> str:
    """A name from elsewhere, changed as little as makes it one that may be kept here."""
    composed = unicodedata.normalize("NFC", text)
    allowed = (" " if unicodedata.category(each) in _NEVER else each for each in composed)
    name = " ".join("".join(allowed).split())
    return name[:MAX_NAME].rstrip() or "unnamed"


def free_name(name: str, taken: Container[str]) -> str:
    """The name, or where it is taken the name with ``(imported)`` behind, and a number where that is, too."""
    free, number = name, 1
    while free in taken:
        suffix = " (imported)" if number == 1 else f" (imported {number})"
        free, number = name[: MAX_NAME - len(suffix)] + suffix, number + 1
    return free


def searchable(key: str) -> str:
    """The key as a name would be kept; one that no name can be equals none."""
    try:
        return checked_name(key)
    except RegistryError:
        return ""


def shown(key: str) -> str:
    """A key as an error names it."""
    return repr(key if len(key) <= MAX_NAME else key[:MAX_NAME] + "…")
