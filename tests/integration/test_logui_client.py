import json
from typing import Any

from playwright.sync_api import Page

from tests.integration.client_pages import ClientTestCase

START = """
import { start } from "/client/logui.js";
window.errors = [];
window.logui = start(options);
logui.addEventListener("error", ({ detail }) => errors.push(detail.message));
"""


class LogUITestCase(ClientTestCase):
    opens = True

    def setUp(self) -> None:
        super().setUp()
        if self.opens:
            self.open()

    def options(self, **more: Any) -> dict[str, Any]:
        endpoint = f"http://127.0.0.1:{self.network.port}/logui/endpoint/0.4.0/"
        plain = {"endpoint": endpoint, "token": self.token, "listeners": [], "sampling": 0}
        return {**plain, **more}

    def open(self, path: str = "/", **more: Any) -> Page:
        self.use(START, **self.options(**more))
        page = self.visit(path)
        self.wait_for("logui.state === 'listening'")
        return page

    def log(self, count: int) -> None:
        """Events of the page's own, numbered over all pages of the test."""
        first = len(self.done)
        self.page.evaluate(
            "([first, end]) => { for (let n = first; n < end; n++) logui.log('n', { n }) }",
            [first, first + count],
        )
        self.done += [{"type": "n", "n": n} for n in range(first, first + count)]

    def expect_stored(self, sessions: int = 1) -> None:
        """Exactly what was done, in order, once."""
        self.stop()
        self.assertEqual(self.details(), self.done)
        self.assertEqual(len(self.sessions()), sessions)

    def settle(self) -> None:
        self.wait_for("logui.waiting === 0")
        self.assertEqual(self.page.evaluate("errors"), [])


class CaptureTests(LogUITestCase):
    def test_what_is_done_is_stored(self) -> None:
        page = self.open(
            listeners=["mouseclick", "mousemove", "scroll", "keyboard", "navigation", "submit", "resize"]
        )
        box = {"id": "buy", "tag": "button"}
        page.mouse.move(20, 20)
        page.mouse.move(30, 25)
        page.mouse.down()
        page.mouse.up()
        page.keyboard.press("Shift")
        page.evaluate("history.pushState(null, '', '/three?secret=1#hidden')")
        page.evaluate("scrollTo(0, 500)")
        self.wait_for("logui.counts.captured === 7")
        page.evaluate("logui.log('done', { rank: 3 })")
        self.settle()
        self.stop()
        self.assertEqual(
            self.details(),
            [
                {"type": "navigation", "how": "load", "path": "/"},
                {"type": "mousemove", "x": 20, "y": 20},
                {"type": "mousemove", "x": 30, "y": 25},
                {"type": "click", "x": 30, "y": 25, "target": box},
                {"type": "keydown", "target": box},
                {"type": "navigation", "how": "pushState", "path": "/three"},
                {"type": "scroll", "x": 0, "y": 500},
                {"type": "done", "rank": 3},
            ],
        )
        self.assertNotIn("secret", json.dumps(self.details()))

    def test_a_sampled_move_ends_where_the_pointer_rests(self) -> None:
        page = self.open(listeners=["mousemove"], sampling=60_000)
        for n in range(5):
            page.mouse.move(10 + n, 10)
        page.evaluate("dispatchEvent(new Event('pagehide'))")
        self.stop()
        self.assertEqual([(e["x"], e["y"]) for e in self.details()], [(10, 10), (14, 10)])

    def test_nothing_of_fields_and_of_what_is_masked(self) -> None:
        page = self.open(listeners=["mouseclick", "keyboard", "submit"])
        page.locator("#secret").click()
        page.keyboard.type("correct horse")
        page.locator("#patient").click()
        page.locator("[name=q]").click()
        page.keyboard.type("battery")
        page.keyboard.press("Enter")
        page.wait_for_url("**/found**")
        self.page.goto(self.pages.url + "/")
        self.wait_for("logui.waiting === 0 && logui.state === 'listening'")
        page.locator("#buy").click()
        self.settle()
        self.stop()
        found = self.details()
        field = {"id": "", "tag": "input"}
        self.assertEqual(found[0]["target"], {"masked": True})
        self.assertEqual(found[1]["target"], {"masked": True})
        self.assertEqual(found[2]["target"], field)
        self.assertEqual([e["type"] for e in found[3:11]], ["keydown"] * 8)
        self.assertEqual(found[-2]["type"], "submit")
        self.assertEqual(found[-1]["target"], {"id": "buy", "tag": "button"})
        self.assertEqual(found[-2]["target"], {"id": "search", "tag": "form"})
        for word in ("correct", "horse", "battery", "Jane", "patient", "Shift", "Buy it"):
            self.assertNotIn(word, json.dumps(found))

    def test_data_holds_from_where_it_was_set(self) -> None:
        self.open(appData={"condition": "A", "old": 1})
        self.log(2)
        self.page.evaluate("logui.setData({ condition: 'B', task: [1] })")
        self.log(1)
        self.page.evaluate("logui.deleteData('old', 'never')")
        self.log(1)
        self.settle()
        self.stop()
        self.assertEqual(
            [data for _, _, data in self.stored()],
            [{"condition": "A", "old": 1}] * 2
            + [{"condition": "B", "old": 1, "task": [1]}, {"condition": "B", "task": [1]}],
        )

    def test_nothing_reaches_the_page(self) -> None:
        """What cannot be logged is told in an event, and the rest is logged."""
        page = self.open(listeners=["mouseclick", "nonsense"])
        for bad in (
            "const circle = {}; circle.circle = circle; logui.log('x', circle)",
            "logui.log('x', { big: 1n })",
            "let deep = 1; for (let n = 0; n < 600; n++) deep = [deep]; logui.log('x', { deep })",
            "logui.log('x', { long: 'x'.repeat(200_000) })",
            "logui.setData({ big: 1n })",
        ):
            page.evaluate(f"errors.length = 0; {bad}")
            self.wait_for("errors.length === 1")
        page.evaluate("errors.length = 0; logui.log('lone', '\\ud83d'); logui.log('none')")
        self.settle()
        self.stop()
        self.assertEqual([e["type"] for e in self.details()], ["lone", "none"])
        self.assertEqual(self.complaints, [])


class KeepingTests(LogUITestCase):
    """Nothing that was captured is lost, and nothing is stored twice."""

    def test_a_closed_tab(self) -> None:
        self.log(33)
        self.page.close()
        self.expect_stored()
        self.assertEqual(self.sessions()[0].end_reason, "leavingPage")

    def test_reloads_and_pages_of_the_same_origin(self) -> None:
        for turn in range(6):
            self.log(7 + 10 * turn)
            if turn % 2:
                self.page.reload()
            else:
                self.page.goto(f"{self.pages.url}/page{turn}")
            self.wait_for("window.logui?.state === 'listening'")
        self.log(3)
        self.settle()
        self.expect_stored()

    def test_a_reload_without_a_server(self) -> None:
        """What the pages before left is stored with the data that was in force there."""
        self.open(appData={"page": 1})
        self.log(5)
        self.settle()
        self.network.cut()
        self.log(45)
        self.page.evaluate("logui.setData({ page: 'one and a half' })")
        self.log(3)
        self.use(START, **self.options(appData={"page": 2}))
        self.page.reload()
        self.wait_for("window.logui?.counts.recovered === 48")
        self.log(30)
        self.page.reload()
        self.wait_for("window.logui?.counts.recovered === 78")
        self.log(2)
        self.network.mend()
        self.settle()
        self.assertEqual(self.page.evaluate("Object.keys(sessionStorage).length"), 1)
        self.expect_stored()
        self.assertEqual(
            [data["page"] for _, _, data in self.stored()], [1] * 50 + ["one and a half"] * 3 + [2] * 32
        )

    def test_a_cut_network(self) -> None:
        for turn in range(8):
            self.log(20 + turn)
            self.network.cut(up=True)
            self.log(10)
            if turn % 3 == 0:
                self.wait_for("logui.state === 'listening'")
        self.settle()
        self.expect_stored()

    def test_a_killed_and_restarted_server(self) -> None:
        self.log(50)
        self.server.kill()
        self.log(50)
        self.server = self.serve()
        self.log(10)
        self.settle()
        self.expect_stored()

    def test_a_stopped_server(self) -> None:
        self.log(15)
        self.stop()
        self.wait_for("logui.waiting === 0")
        self.log(5)
        self.server = self.serve()
        self.settle()
        self.expect_stored()

    def test_the_back_forward_cache(self) -> None:
        self.log(4)
        self.page.goto(f"{self.pages.url}/two")
        self.wait_for("window.logui?.state === 'listening'")
        self.log(3)
        self.settle()
        self.network.cut()
        self.log(5)
        self.page.go_back(wait_until="commit")
        self.assertTrue(self.page.evaluate("logui.counts.captured > 0"), "the page was not restored")
        self.log(6)
        self.network.mend()
        self.wait_for("logui.state === 'listening'")
        self.settle()
        self.assertEqual(self.page.evaluate("logui.counts.recovered"), 5)
        self.expect_stored()

    without = ("--disable-back-forward-cache",)
