"""Finds what other distributions bring: makers of sinks and steps, as Twisted plugins and as entry points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from typing import Any

from twisted.logger import Logger
from twisted.plugin import getPlugins

from logui_tx import plugins
from logui_tx.errors import BadOption
from logui_tx.interfaces import ISinkMaker, IStep, IStepMaker
from logui_tx.options import Parameter

log = Logger()

SINKS = "logui_tx.sinks"
STEPS = "logui_tx.steps"
"""Groups of entry points, each of which is a maker."""


def sink_makers() -> list[ISinkMaker]:
    """All that are installed, by their schemes."""
    return sorted(_found(ISinkMaker, SINKS), key=lambda maker: maker.schemes)


def step_makers() -> list[IStepMaker]:
    """All that are installed, by their names."""
    return sorted(_found(IStepMaker, STEPS), key=lambda maker: maker.name)


def _found(interface: Any, group: str) -> list[Any]:
    candidates = [
        (f"{type(maker).__module__}.{type(maker).__qualname__}", maker)
        for maker in getPlugins(interface, plugins)
    ]
    for entry in entry_points(group=group):
        try:
            candidates.append((entry.name, entry.load()))
        except Exception as error:  # noqa: BLE001 - somebody else's module must not keep the server from starting
            log.warn("the plugin {name} cannot be loaded: {error}", name=entry.name, error=error)
    found: list[Any] = []
    for name, maker in candidates:
        why = _wrong(maker, interface)
        if why:
            log.warn(
                "the plugin {name} is no {interface}: {why}", name=name, interface=interface.__name__, why=why
            )
        elif maker not in found:
            found.append(maker)
    return found


def _wrong(maker: Any, interface: Any) -> str:
    """What keeps somebody else's object from being a maker; nothing for one that is."""
    if not interface.providedBy(maker):
        return "it does not provide it"
    for name in interface:
        if not hasattr(maker, name):
            return f"it has no {name}"
    for name in ("name", "summary", "form"):
        if name in interface and not isinstance(getattr(maker, name), str):
            return f"its {name} is no text"
    if "schemes" in interface and not _is_tuple_of(str, maker.schemes):
        return "its schemes are no tuple of texts, such as ('sqlite',)"
    if "schemes" in interface and maker.parameters and not _is_tuple_of(Parameter, maker.parameters):
        return "its parameters are no tuple of Parameter"
    return ""


def _is_tuple_of(kind: type, value: object) -> bool:
    return isinstance(value, tuple) and bool(value) and all(isinstance(one, kind) for one in value)


def make_steps(written: Iterable[str], makers: Sequence[IStepMaker]) -> list[IStep]:
    """The steps that are written ``name:argument``. Raises :class:`BadOption` with what would be right."""
    by_name = {maker.name: maker for maker in makers}
    made = []
    for each in written:
        name, _, argument = each.partition(":")
        maker = by_name.get(name)
        if maker is None:
            raise BadOption(f"sink: step: {name!r} is not known; known are {', '.join(sorted(by_name))}")
        try:
            made.append(maker.make(argument))
        except ValueError as error:
            raise BadOption(f"sink: step: {name}: {error}; {maker.form} would be one") from None
    return made
