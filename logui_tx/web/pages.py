"""The pages that are made once, when the server starts: ``/`` and ``/demo/``."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from logui_tx import __version__

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True, undefined=StrictUndefined
)


def index_page(demo: bool) -> str:
    """What is here; ``demo`` says whether ``/demo/`` is."""
    return _TEMPLATES.get_template("index.html").render(version=__version__, demo=demo)


def demo_page(token: str) -> str:
    """A page that logs its own clicks and moves, with the token of the flight Demo in it."""
    return _TEMPLATES.get_template("demo.html").render(token=token)
