"""From where a flight of the released server could be logged, in our words. Pure.

That server compared the text it had with the host and port of the page's origin, as they stand there; only a
URL on the host ``localhost`` let pages of any origin in. A URL on another host fits no page's origin.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from attrs import frozen

from logui_tx.errors import InvalidDomain
from logui_tx.registry.domains import ANY, parse_domain

NOBODY = "unknown.invalid"
"""Stands where no domain can be made out: no page is there (RFC 2606)."""


@frozen
class Domain:
    """A flight's domain here; ``note`` says where that is not simply what it was."""

    domain: str
    note: str | None = None


def domain_of(fqdn: str | None) -> Domain:
    """Every page that could log still can; of a host without a port, pages on any port now can, too."""
    text = (fqdn or "").strip()
    try:
        netloc = urlsplit(text).netloc
    except ValueError:
        netloc = ""
    if netloc == "localhost":
        return Domain(ANY, f"took pages from anywhere, because its domain was {text!a}, and still does")
    host = (netloc or text).rpartition("@")[2].partition("/")[0]
    try:
        domain = NOBODY if ANY in host else parse_domain(host)
    except InvalidDomain:
        domain = NOBODY
    if domain == NOBODY:
        return Domain(NOBODY, f"took no pages, because its domain was {text!a}, and takes none")
    if host != text:
        return Domain(
            domain, f"took no pages, because its domain was {text!a}, and takes those of {domain} now"
        )
    return Domain(domain)
