import re
from html.parser import HTMLParser

from twisted.trial.unittest import SynchronousTestCase

from logui_tx import __version__
from logui_tx.web.pages import demo_page, index_page
from logui_tx.web.site import STATIC

HOSTILE = "\"'><script>alert(1)</script>&amp;"


class Reader(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


class DemoPageTests(SynchronousTestCase):
    def test_the_token_stands_in_the_body(self) -> None:
        [body] = Reader(demo_page("e30.abc")).all("body")
        self.assertEqual(body["data-token"], "e30.abc")

    def test_a_hostile_token_stays_a_token(self) -> None:
        page = Reader(demo_page(HOSTILE))
        [body] = page.all("body")
        self.assertEqual(body, {"data-token": HOSTILE})
        self.assertEqual(len(page.all("script")), 1)
        self.assertNotIn("alert", page.text)

    def test_it_says_how_to_see_the_data(self) -> None:
        self.assertIn("logui export --flight Demo", Reader(demo_page("")).text)


class IndexPageTests(SynchronousTestCase):
    def links(self, demo: bool) -> list[str | None]:
        return [link["href"] for link in Reader(index_page(demo)).all("a")]

    def test_it_tells_the_version(self) -> None:
        self.assertIn(f"version {__version__}", Reader(index_page(False)).text)

    def test_it_links_to_the_demo_where_there_is_one(self) -> None:
        self.assertEqual(self.links(True), ["/demo/", "/healthz"])
        self.assertEqual(self.links(False), ["/healthz"])


class ContentSecurityPolicyTests(SynchronousTestCase):
    """``default-src 'self'`` lets nothing inline and nothing foreign work."""

    def test_pages_have_nothing_inline(self) -> None:
        for page in (demo_page(""), index_page(True)):
            read = Reader(page)
            self.assertEqual([s for s in read.all("script") if "src" not in s] + read.all("style"), [])
            for tag, attributes in read.tags:
                for name in attributes:
                    self.assertFalse(name == "style" or name.startswith("on"), (tag, name))

    def test_what_they_load_is_there(self) -> None:
        loaded = set()
        for page in (demo_page(""), index_page(True)):
            read = Reader(page)
            loaded |= {tag["src"] for tag in read.all("script")} | {tag["href"] for tag in read.all("link")}
        for script in STATIC.glob("*.js"):
            loaded |= set(re.findall(r'from "([^"]+)"', script.read_text(encoding="utf-8")))
        clients = {"/client/logui.js", "/client/kraken.js"}
        self.assertEqual(loaded, {f"/static/{path.name}" for path in STATIC.iterdir()} | clients)
