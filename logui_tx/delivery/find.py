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
    found: list[Any] = list(getPlugins(interface, plugins))
    for entry in entry_points(group=group):
        try:
            maker = entry.load()
        except Exception as error:  # noqa: BLE001 - somebody else's module must not keep the server from starting
            log.warn("the plugin {name} cannot be loaded: {error}", name=entry.name, error=error)
            continue
        if interface.providedBy(maker):
            if maker not in found:
                found.append(maker)
        else:
            log.warn("the plugin {name} is no {interface}", name=entry.name, interface=interface.__name__)
    return found


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
