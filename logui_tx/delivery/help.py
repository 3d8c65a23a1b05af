"""``--help-sinks`` and ``--help-sink``: what is installed, from the makers themselves."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from logui_tx.delivery.find import sink_makers, step_makers
from logui_tx.errors import BadOption
from logui_tx.options import Parameter
from logui_tx.sinks.uri import COMMON

_WIDTH = 100


def sinks_help() -> str:
    """All sinks and steps, one a line."""
    sinks = [(", ".join(f"{scheme}:" for scheme in one.schemes), one.summary) for one in sink_makers()]
    steps = [(one.form, one.summary) for one in step_makers()]
    return "\n".join(
        [
            "Kinds of sinks (--sink URI; --help-sink NAME explains one):",
            *_columns(sinks),
            "",
            "Steps, for every sink (?step=NAME:ARGUMENT, may be repeated):",
            *_columns(steps),
        ]
    )


def sink_help(name: str) -> str:
    """One kind of sink, named by a scheme. Raises :class:`BadOption`."""
    makers = sink_makers()
    maker = next((one for one in makers if name.rstrip(":") in one.schemes), None)
    if maker is None:
        known = ", ".join(scheme for one in makers for scheme in one.schemes)
        raise BadOption(f"help-sink: {name!r} is not known; known are {known}")
    own = {parameter.name for parameter in maker.parameters}
    return "\n".join(
        [
            f"{', '.join(f'{scheme}:' for scheme in maker.schemes)}  {maker.summary}",
            "",
            f"  --sink '{maker.form}'",
            *(["", "Its parameters:", *_columns(map(_row, maker.parameters))] if maker.parameters else []),
            "",
            "Parameters of every sink:",
            *_columns(_row(parameter) for parameter in COMMON if parameter.name not in own),
        ]
    )


def _row(parameter: Parameter) -> tuple[str, str]:
    default = "" if parameter.default is None else f" [default: {parameter.default}]"
    return parameter.name, parameter.help + default


def _columns(rows: Iterable[tuple[str, str]]) -> list[str]:
    found = list(rows)
    width = max((len(name) for name, _ in found), default=0) + 2
    lines = []
    for name, text in found:
        first, *rest = textwrap.wrap(text, _WIDTH - width - 2) or [""]
        lines += [f"  {name:<{width}}{first}", *(" " * (width + 2) + line for line in rest)]
    return lines
