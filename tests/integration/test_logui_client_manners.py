"""What the client leaves alone, and what it does where a browser or a page is unkind to it."""

import contextlib
from typing import Any

from playwright.sync_api import Error

from tests.integration.test_logui_client import START, LogUITestCase

CONSENT = "options.consent = new Promise((yes, no) => Object.assign(window, { yes, no }));" + START
MADE = START.replace("start }", "LogUI }").replace("start(options)", "new LogUI(options)")


class ConsentTests(LogUITestCase):
    opens = False

    def ask(self) -> None:
        """A page that waits for its visitor, who has already clicked."""
        self.upgrades: list[str] = []
        self.use(CONSENT, **self.options(listeners=["mouseclick"]))
        self.page.on("websocket", lambda socket: self.upgrades.append(socket.url))
        self.visit()
        self.wait_for("window.logui")
        self.page.locator("#buy").click()
        self.assertFalse(self.page.evaluate("logui.log('early')"))
        self.assertEqual(self.page.evaluate("[logui.state, logui.counts.captured]"), ["waiting", 0])
        self.expect_untouched()

    def expect_untouched(self) -> None:
        self.assertEqual(self.upgrades, [])
        self.assertEqual(self.page.evaluate("Object.keys(sessionStorage)"), [])

    def test_given(self) -> None:
        self.ask()
        self.page.evaluate("yes(true)")
        self.wait_for("logui.state === 'listening'")
        self.log(1)
        self.settle()
        self.expect_stored()

    def test_asked_for_at_the_start(self) -> None:
        """What start() is given overrides what the client was made with, and holds from then on."""
        self.use(MADE, **self.options(token="nonsense", appData={"a": 1}))
        self.upgrades: list[str] = []
        self.page.on("websocket", lambda socket: self.upgrades.append(socket.url))
        self.visit()
        self.wait_for("window.logui")
        self.page.evaluate(
            """(token) => {
                const consent = new Promise((yes) => Object.assign(window, { yes }));
                logui.start({ token, appData: { b: 2 }, consent });
                logui.start({ token: "ignored" });
                logui.setData({ c: 3 });
            }""",
            self.token,
        )
        self.assertFalse(self.page.evaluate("logui.log('early')"))
        self.assertEqual(self.page.evaluate("[logui.state, logui.counts.captured]"), ["waiting", 0])
        self.expect_untouched()
        self.page.evaluate("yes(1)")
        self.wait_for("logui.state === 'listening'")
        self.log(1)
        self.settle()
        self.expect_stored()
        self.assertEqual([data for _, _, data in self.stored()], [{"b": 2, "c": 3}])

    def test_refused(self) -> None:
        for answer in ("yes(false)", "no(new Error('no'))"):
            self.ask()
            self.page.evaluate(answer)
            self.wait_for("logui.state === 'off'")
            self.page.reload()
            self.expect_untouched()

    def test_stopped_before_it_was_given(self) -> None:
        self.ask()
        self.page.evaluate("logui.stop(); yes(true)")
        self.wait_for("logui.state === 'off'")
        self.page.evaluate("0")
        self.expect_untouched()
        self.page.evaluate("logui.start()")
        self.wait_for("logui.state === 'listening'")

    def test_what_the_browser_says(self) -> None:
        for sign, option, value in (
            ("globalPrivacyControl", "respectGlobalPrivacyControl", "true"),
            ("doNotTrack", "respectDoNotTrack", "'1'"),
        ):
            page = self.context.new_page()
            page.add_init_script(
                f"Object.defineProperty(Navigator.prototype, '{sign}', {{ get: () => {value} }})"
            )
            self.page = page
            self.use(START, **self.options(**{option: True}))
            self.visit()
            self.wait_for("window.logui?.state === 'off'")
            self.assertFalse(page.evaluate("logui.log('x')"))
            self.assertEqual(page.evaluate("Object.keys(sessionStorage)"), [])
            self.open()
        self.stop()
        self.assertEqual(len(self.sessions()), 2)

    def test_withdrawn(self) -> None:
        """What waits is forgotten, and what was stored in the tab too."""
        self.open(listeners=["mousemove"], sampling=60_000)
        self.log(30)
        self.settle()
        self.log(25)
        self.page.mouse.move(5, 5)
        self.page.mouse.move(6, 6)
        self.page.evaluate("logui.stop({ discard: true })")
        self.wait_for("logui.state === 'off'")
        self.assertEqual(self.page.evaluate("[Object.keys(sessionStorage), logui.waiting]"), [[], 0])
        self.page.reload()
        self.wait_for("window.logui?.state === 'listening'")
        self.assertEqual(self.page.evaluate("logui.counts.recovered"), 0)
        self.stop()
        self.assertEqual(len(self.sessions()), 2)
        self.assertEqual(self.sessions()[0].end_reason, "shutdownClient")


class StartingTests(LogUITestCase):
    def test_twice(self) -> None:
        self.page.evaluate("logui.start(); logui.start()")
        self.log(3)
        self.settle()
        self.expect_stored()

    def test_a_stop_ends_the_session_when_all_is_stored(self) -> None:
        self.log(30)
        self.page.evaluate("logui.stop()")
        self.assertFalse(self.page.evaluate("logui.log('late')"))
        self.wait_for("logui.state === 'stopped'")
        self.assertEqual(self.page.evaluate("[logui.waiting, Object.keys(sessionStorage)]"), [0, []])
        self.page.evaluate("logui.start()")
        self.wait_for("logui.state === 'listening'")
        self.log(2)
        self.settle()
        self.expect_stored(sessions=2)
        self.assertEqual(self.sessions()[0].end_reason, "shutdownClient")

    def test_a_stop_that_can_be_resumed(self) -> None:
        self.log(30)
        self.page.evaluate("logui.stop({ resumable: true })")
        self.wait_for("logui.state === 'stopped'")
        self.assertEqual(self.ended().end_reason, "leavingPage")
        self.page.evaluate("logui.start()")
        self.wait_for("logui.state === 'listening'")
        self.log(2)
        self.settle()
        self.expect_stored()

    def test_a_stop_while_the_network_is_away(self) -> None:
        self.network.cut()
        self.log(30)
        self.page.evaluate("logui.stop()")
        self.network.mend()
        self.wait_for("logui.state === 'stopped'")
        self.expect_stored()

    def test_two_clients_on_a_page(self) -> None:
        """Of one flight: each has its own payloads; of another flight: nothing in common."""
        token = self.new_token("Other")
        self.page.evaluate(
            """async ([options, token]) => {
                const { LogUI } = await import("/client/logui.js");
                window.all = [logui, new LogUI(options).start(), new LogUI({ ...options, token }).start()];
            }""",
            [self.options(), token],
        )
        for _ in range(2):
            self.wait_for("all.every(({ state }) => state === 'listening')")
            self.page.evaluate(
                "all.forEach((one, n) => { for (let i = 0; i < 45; i++) one.log('n', { n }) })"
            )
            self.network.cut(up=True)
        self.wait_for("all.every(({ waiting }) => waiting === 0)")
        self.stop()
        found = [event["eventDetails"]["n"] for _, event, _ in self.stored()]
        self.assertEqual([found.count(n) for n in range(3)], [90, 90, 90])

    def test_a_duplicated_tab(self) -> None:
        """It has a copy of what waits, which is stored once; what it logs itself is its own."""
        self.network.cut()
        self.log(45)
        copy = self.page.evaluate("Object.entries(sessionStorage)")
        self.assertEqual(len(copy), 3)
        twin = self.new_page()
        twin.goto(self.pages.url + "/client/listeners.js")
        twin.evaluate("(copy) => copy.forEach(([key, value]) => sessionStorage.setItem(key, value))", copy)
        twin.goto(self.pages.url)
        twin.wait_for_function("() => window.logui?.counts.recovered === 40")
        twin.evaluate("for (let n = 0; n < 25; n++) logui.log('twin', { n })")
        self.network.mend()
        twin.wait_for_function("() => logui.waiting === 0 && logui.state === 'listening'")
        self.settle()
        self.stop()
        found = self.details()
        self.assertEqual(sorted(e["n"] for e in found if e["type"] == "n"), list(range(45)))
        self.assertEqual([e["n"] for e in found if e["type"] == "twin"], list(range(25)))
        self.assertEqual(len(self.sessions()), 1)


class UnkindTests(LogUITestCase):
    opens = False

    def test_no_storage(self) -> None:
        self.page.add_init_script(
            """Object.defineProperty(window, "sessionStorage", {
                get() { throw new DOMException("no", "SecurityError"); }
            })"""
        )
        self.open()
        self.log(30)
        self.network.cut(up=True)
        self.log(30)
        self.settle()
        self.page.close()
        self.expect_stored()

    def test_a_full_storage(self) -> None:
        """Memory serves; never is a later payload kept without the ones before."""
        self.page.add_init_script(
            """const set = Storage.prototype.setItem; let left = 3;
            Storage.prototype.setItem = function (...all) {
                if (left-- <= 0) throw new DOMException("full", "QuotaExceededError");
                set.apply(this, all);
            };"""
        )
        self.open()
        self.network.cut()
        self.log(100)
        kept = "Object.keys(sessionStorage).filter((key) => !key.endsWith('session')).length"
        before = self.page.evaluate(kept)
        self.assertLess(before, 5)
        self.network.mend()
        self.settle()
        self.assertEqual(self.page.evaluate(kept), 0)
        self.expect_stored()

    def test_a_page_that_forbids_the_connection(self) -> None:
        self.pages.headers = {
            "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval'; connect-src 'none'"
        }
        # The browser then says nothing at all: the client's patience ends it. A clock that ran on would
        # bring the next attempt.
        self.page.clock.install(time=1_800_000_000)
        self.page.clock.pause_at(1_800_000_001)
        self.use(START, **self.options())
        self.visit()
        self.wait_for("window.logui?.state === 'connecting'")
        self.assertTrue(self.page.evaluate("logui.log('x')"))
        self.page.clock.run_for(30_100)
        self.assertEqual(self.page.evaluate("[logui.state, logui.waiting, errors.length]"), ["closed", 1, 0])

    def test_an_address_that_is_none(self) -> None:
        self.use(START, **self.options(endpoint="ws://["))
        self.visit()
        self.wait_for("window.logui?.state === 'refused'")
        self.assertFalse(self.page.evaluate("logui.log('x')"))

    def test_a_token_that_is_none(self) -> None:
        self.use(START, **self.options(token="nonsense"))
        self.visit()
        self.wait_for("window.logui?.state === 'refused'")
        self.assertFalse(self.page.evaluate("logui.log('x')"))

    def test_another_origins_page_loads_it_from_the_server(self) -> None:
        origin = f"http://127.0.0.1:{self.server.port}"
        options: dict[str, Any] = {"token": self.token, "listeners": []}
        self.use(START.replace('"/client/', f'"{origin}/client/'), **options)
        self.visit()
        self.wait_for("window.logui?.state === 'listening'")
        self.log(3)
        self.settle()
        self.expect_stored()

    def test_a_crashed_page(self) -> None:
        """Payloads that were made are sent by the tab's next page."""
        self.open()
        self.log(20)
        self.settle()
        self.network.cut()
        self.log(45)
        self.wait_for("logui.waiting === 45")
        tab = self.context.new_cdp_session(self.page)
        with self.page.expect_event("crash"), contextlib.suppress(Error):
            self.page.goto("chrome://crash", wait_until="commit")
        self.network.mend()
        tab.send("Page.navigate", {"url": self.pages.url + "/two"})
        ready = "window.logui?.state === 'listening' && logui.waiting === 0"
        wait = f"new Promise((done) => setInterval(() => {ready} && done(logui.counts.recovered)))"
        answer = tab.send("Runtime.evaluate", {"expression": wait, "awaitPromise": True})
        self.assertEqual(answer["result"]["value"], 40)
        del self.done[60:]
        self.expect_stored()
