from typing import Any

from playwright.sync_api import Page, Route

from tests.integration.client_pages import ClientTestCase

MAKE = """
import { DataKraken, SOCKET_EVENT } from "/client/kraken.js";
window.errors = [];
window.kraken = new DataKraken(options);
kraken.addEventListener("error", ({ detail }) => errors.push(detail.message));
"""
START = MAKE + "await kraken.Listen();"


class KrakenClientTestCase(ClientTestCase):
    opens = True

    def setUp(self) -> None:
        super().setUp()
        if self.opens:
            self.open()

    def options(self, **more: Any) -> dict[str, Any]:
        return {
            "url": f"http://127.0.0.1:{self.network.port}/kraken/init",
            "token": self.token,
            **more,
        }

    def open(self, path: str = "/", **more: Any) -> Page:
        self.use(START, **self.options(**more))
        page = self.visit(path)
        self.wait_for("window.kraken?.CONN_STATE === 'READY'")
        return page

    def log(self, count: int) -> None:
        first = len(self.done)
        self.page.evaluate(
            "([first, end]) => { for (let n = first; n < end; n++) kraken.Log('n', { n }) }",
            [first, first + count],
        )
        self.done += [{"name": "n", "n": n} for n in range(first, first + count)]

    def custom(self) -> list[Any]:
        """What is stored of the page's own events, in order."""
        return [event["event"] for _, event, _ in self.stored("kraken") if event["type"] == 9]

    def settle(self) -> None:
        self.wait_for("kraken.waiting === 0")


class StreamTests(KrakenClientTestCase):
    def test_what_is_done_is_stored(self) -> None:
        page = self.page
        page.mouse.move(20, 20)
        page.mouse.move(300, 300)
        page.locator("#buy").click()
        page.keyboard.press("Shift")
        page.locator("#secret").click()
        page.keyboard.type("correct horse")
        page.locator("#patient").click()
        page.evaluate(
            "new Promise((seen) => { addEventListener('scroll', seen, { once: true }); scrollTo(0, 500) })"
        )
        self.log(1)
        page.evaluate("kraken.Close()")
        self.assertEqual(page.evaluate("kraken.CONN_STATE"), "CLOSING")
        page.mouse.move(1, 1)
        self.stop()
        found = [event for _, event, _ in self.stored("kraken")]
        self.assertEqual([seq for seq, _, _ in self.stored("kraken")], list(range(1, len(found) + 1)))
        clicks = [event["event"] for event in found if event["type"] == 0]
        self.assertEqual(clicks[0], {"X": 50, "Y": 25, "target": "#buy"})
        self.assertEqual([click["target"] for click in clicks[1:]], ["", ""])
        moves = [event["event"] for event in found if event["type"] == 1]
        self.assertEqual((moves[0]["X"], moves[0]["Y"]), (20, 20))
        self.assertTrue(all(set(move) == {"X", "Y", "ellapsed"} for move in moves))
        self.assertTrue(all(move["ellapsed"] >= 0 for move in moves))
        self.assertEqual(sum(event["type"] == 3 for event in found), 1)
        self.assertIn(2, [event["type"] for event in found])
        self.assertEqual(self.custom(), self.done)
        text = str(found)
        for word in ("horse", "Jane", "patient", "Shift", "secret"):
            self.assertNotIn(word, text)
        [session] = self.sessions("kraken")
        self.assertEqual((session.end_reason, session.events), ("closed", len(found)))
        self.assertIn("Chrome", str(session.device))

    def test_how_long_the_pointer_rested(self) -> None:
        self.page.clock.install()
        self.open()
        self.page.clock.pause_at(4_000_000_000)
        self.page.mouse.move(10, 10)
        self.page.clock.run_for(1234)
        self.page.mouse.move(11, 10)
        self.settle()
        self.stop()
        moves = [event["event"]["ellapsed"] for _, event, _ in self.stored("kraken") if event["type"] == 1]
        self.assertEqual(moves[-1], 1234)

    def test_only_what_the_flight_allows(self) -> None:
        token = self.new_token("Few")
        said: dict[str, Any] = {}

        def narrow(route: Route) -> None:
            answer = route.fetch()
            said.update(answer.json())
            said["meta"].update(listeners=["mouseclick"], sampling={}, metadata={"a": 1})
            route.fulfill(response=answer, json=said)

        self.page.route("**/kraken/init", narrow)
        page = self.open(token=token)
        page.mouse.move(30, 30)
        page.keyboard.press("a")
        self.assertFalse(page.evaluate("kraken.Log('x')"))
        page.locator("#buy").click()
        self.settle()
        self.assertEqual(page.evaluate("kraken.meta.metadata"), {"a": 1})
        self.stop()
        self.assertEqual([event["type"] for _, event, _ in self.stored("kraken")][-1:], [0])
        self.assertEqual(self.sessions("kraken")[-1].events, 1)


class StateTests(KrakenClientTestCase):
    opens = False

    def test_nothing_is_logged_before_it_listens(self) -> None:
        self.use(MAKE, **self.options())
        page = self.visit()
        self.wait_for("window.kraken?.meta")
        page.mouse.move(5, 5)
        self.assertEqual(
            page.evaluate("[kraken.CONN_STATE, kraken.counts.captured, kraken.Log('x')]"), ["INIT", 0, False]
        )
        self.assertTrue(page.evaluate("kraken.Listen()"))
        self.assertEqual(page.evaluate("kraken.CONN_STATE"), "READY")
        self.stop()
        self.assertEqual(len(self.sessions("kraken")), 1)

    def test_an_expired_ticket(self) -> None:
        """Another one is had."""
        asked: list[str] = []
        self.page.on("request", lambda request: asked.append(request.method))
        self.page.clock.install()
        self.use(MAKE, **self.options())
        self.visit()
        self.wait_for("window.kraken?.meta")
        self.page.clock.run_for(20_000)
        asked.clear()
        with self.page.expect_request(lambda request: request.method == "POST"):
            self.assertTrue(self.page.evaluate("kraken.Listen()"))
        self.assertEqual(asked.count("POST"), 1)

    def test_again_after_the_end(self) -> None:
        self.open()
        self.log(3)
        self.page.evaluate("kraken.Close()")
        self.assertTrue(self.page.evaluate("kraken.Listen()"))
        self.log(2)
        self.settle()
        self.page.evaluate("kraken.Close()")
        self.stop()
        self.assertEqual(sorted(one["n"] for one in self.custom()), list(range(5)))
        self.assertEqual([one.end_reason for one in self.sessions("kraken")], ["closed", "closed"])

    def test_closed_while_it_connects(self) -> None:
        self.use(MAKE, **self.options())
        self.visit()
        self.wait_for("window.kraken")
        self.assertFalse(self.page.evaluate("{ const all = kraken.Listen(); kraken.Close(); all }"))
        self.assertEqual(self.page.evaluate("kraken.CONN_STATE"), "CLOSING")

    def test_a_refused_token(self) -> None:
        self.use(MAKE, **self.options(token="nonsense"))
        self.visit()
        self.wait_for("window.errors?.length === 1")
        self.assertFalse(self.page.evaluate("kraken.Listen()"))
        self.assertEqual(self.page.evaluate("kraken.CONN_STATE"), "CLOSING")

    def test_what_the_browser_says(self) -> None:
        self.page.add_init_script(
            "Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', { get: () => true })"
        )
        asked: list[str] = []
        self.page.on("request", lambda request: asked.append(request.method))
        self.use(MAKE, **self.options(respectGlobalPrivacyControl=True))
        self.visit()
        self.wait_for("window.errors?.length === 1")
        self.assertFalse(self.page.evaluate("kraken.Listen()"))
        self.assertNotIn("POST", asked)
        self.open()

    def test_https_makes_the_socket_safe(self) -> None:
        """A proxy may not say by what it was asked."""
        opened: list[str] = []
        said = {
            "ticket": "t",
            "ttl": 15,
            "endpoint": "ws://study.example/kraken/socket",
            "meta": {"listeners": []},
        }
        headers = {
            "Access-Control-Allow-Origin": self.pages.url,
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Allow-Headers": "Content-Type",
        }
        self.page.route("https://study.example/**", lambda route: route.fulfill(json=said, headers=headers))
        self.page.route_web_socket("**/kraken/socket*", lambda route: opened.append(route.url))
        self.use(START, **self.options(url="https://study.example/kraken/init"))
        self.visit()
        self.wait_for("window.kraken?.CONN_STATE === 'READY'")
        self.assertEqual(opened, ["wss://study.example/kraken/socket?ticket=t"])


class EndTests(KrakenClientTestCase):
    """What was acknowledged is stored, and nothing twice."""

    def test_a_closed_tab(self) -> None:
        self.log(100)
        self.page.close()
        self.stop()
        self.assertEqual(self.custom(), self.done)
        self.assertEqual(self.sessions("kraken")[0].end_reason, "closed")

    def test_reload_and_navigation(self) -> None:
        self.log(50)
        self.page.reload()
        self.wait_for("window.kraken?.CONN_STATE === 'READY'")
        self.log(50)
        self.page.goto(self.pages.url + "/two")
        self.wait_for("window.kraken?.CONN_STATE === 'READY'")
        self.log(10)
        self.page.close()
        self.stop()
        self.assertEqual(self.custom(), self.done)
        self.assertEqual([one.end_reason for one in self.sessions("kraken")], ["closed"] * 3)
        self.assertEqual(len({one.visitor_id for one in self.sessions("kraken")}), 1)

    def test_a_cut_network(self) -> None:
        self.log(30)
        self.settle()
        self.log(30)
        self.network.cut(up=True)
        self.wait_for("kraken.CONN_STATE === 'CLOSING'")
        self.assertFalse(self.page.evaluate("kraken.Log('x')"))
        acknowledged = self.page.evaluate("kraken.counts.stored")
        self.assertTrue(self.page.evaluate("kraken.Listen()"))
        self.log(5)
        self.settle()
        self.stop()
        found = [one["n"] for one in self.custom()]
        self.assertEqual(len(found), len(set(found)))
        self.assertGreaterEqual(acknowledged, 30)
        self.assertEqual(found[:30], list(range(30)))
        self.assertEqual(found[-5:], list(range(60, 65)))

    def test_a_stopped_server(self) -> None:
        # A session begins when the server has read its start: until then a server that stops refuses it.
        self.log(1)
        self.settle()
        self.log(40)
        self.stop()
        self.wait_for("kraken.CONN_STATE === 'CLOSING'")
        self.assertEqual(self.custom(), self.done)
        self.server = self.serve()
        self.assertTrue(self.page.evaluate("kraken.Listen()"))
        self.log(2)
        self.settle()
        self.stop()
        self.assertEqual(self.custom(), self.done)

    def test_a_killed_server(self) -> None:
        self.log(40)
        self.settle()
        self.server.kill()
        self.wait_for("kraken.CONN_STATE === 'CLOSING'")
        self.server = self.serve()
        self.assertTrue(self.page.evaluate("kraken.Listen()"))
        self.stop()
        self.assertEqual(self.custom(), self.done)
        self.assertEqual(self.sessions("kraken")[0].end_reason, "lost")

    def test_the_back_forward_cache(self) -> None:
        self.log(4)
        self.page.goto(self.pages.url + "/two")
        self.wait_for("window.kraken?.CONN_STATE === 'READY'")
        self.log(3)
        self.page.go_back(wait_until="commit")
        self.wait_for("kraken.CONN_STATE === 'READY' && kraken.counts.captured > 4")
        self.log(2)
        self.settle()
        self.stop()
        self.assertEqual(self.custom(), self.done)
        self.assertEqual(len(self.sessions("kraken")), 3)

    without = ("--disable-back-forward-cache",)
