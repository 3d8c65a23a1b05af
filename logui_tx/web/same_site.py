"""Whether a page and the server are of one site, as a cookie's ``SameSite`` means it."""

from __future__ import annotations

import ipaddress
from functools import cache
from urllib.parse import urlsplit

from publicsuffixlist import PublicSuffixList


def is_same_site(origin: str | None, fetch_site: str | None, scheme: str, host: str) -> bool:
    """Whether the page's site is the server's, at ``scheme`` and ``host`` (with its port, if any).

    The browser's own word, ``Sec-Fetch-Site``, goes first; otherwise the schemes and the registrable domains
    of the page's ``origin`` and of the host decide. Names without one, as localhost, and addresses compare as
    they are. Who tells no origin is no page of another site.
    """
    if fetch_site in ("same-origin", "same-site", "cross-site"):
        return fetch_site != "cross-site"
    if origin is None:
        return True
    page = _host(origin)
    server = _host(f"{scheme}://{host}")
    if page is None or server is None or urlsplit(origin).scheme.lower() != scheme:
        return False
    return page == server or (_site(page) is not None and _site(page) == _site(server))


def _host(origin: str) -> str | None:
    try:
        host = urlsplit(origin).hostname
    except ValueError:
        return None
    return host.rstrip(".") if host else None


def _site(host: str) -> str | None:
    """The registrable domain; None for what has none."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        site: str | None = _suffixes().privatesuffix(host)
        return site
    return None


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()
