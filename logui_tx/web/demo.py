"""``/demo/``: a page that logs its own clicks and mouse moves and shows what becomes of them."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader

_TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True)


def demo_page(token: str) -> str:
    """The page, with the token of the flight Demo in it."""
    return _TEMPLATES.get_template("demo.html").render(token=token)
