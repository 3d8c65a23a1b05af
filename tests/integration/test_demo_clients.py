from itertools import pairwise

from playwright.sync_api import expect

from tests.integration.browser import DemoPageTestCase


class BothClientsTests(DemoPageTestCase):
    def expect_number(self, name: str, value: int) -> None:
        expect(self.page.locator(f"#{name}")).to_have_text(str(value))

    def expect_kraken(self, state: str) -> None:
        expect(self.page.locator("#kraken-state")).to_have_attribute("data-state", state)

    def test_both_log_the_same(self) -> None:
        account = self.open()
        self.expect_kraken("listening")
        account.click_on("circle")
        account.wander(5)
        account.click_on("leaf")
        account.expect_acknowledged()
        for name in ("captured", "sent", "acknowledged", "waiting"):
            self.expect_number(f"kraken-{name}", 0 if name == "waiting" else 10)  # and the page's own address
        expect(self.page.locator("#events li").first).to_contain_text("on button#leaf")
        expect(self.page.locator("#kraken-events li").first).to_contain_text("on #leaf")
        self.stop()
        self.assert_stored(account)
        found = [event["event"] for _, event, _ in self.stored("kraken") if event["type"] < 2]
        self.assertEqual([(e["X"], e["Y"]) for e in found], [(e["x"], e["y"]) for e in account.events])

    def test_a_cut_connection(self) -> None:
        """LogUI keeps what happens meanwhile; DataKraken does not, and begins a new session."""
        account = self.open()
        self.expect_kraken("listening")
        account.wander(5)
        account.expect_acknowledged()
        account.click_on("cut")
        self.expect_state("closed")
        self.expect_kraken("closed")
        expect(self.page.locator("#cut")).to_have_attribute("aria-pressed", "true")
        account.wander(30, 5)
        self.expect_number("waiting", 32)
        self.expect_number("kraken-captured", 8)
        account.click_on("cut")
        account.expect_acknowledged()
        self.expect_kraken("listening")
        account.wander(2, 40)
        account.expect_acknowledged()
        self.expect_number("kraken-captured", 11)
        self.expect_number("kraken-waiting", 0)
        self.stop()
        self.assert_stored(account)
        self.assertEqual(len(self.sessions("kraken")), 2)

    def test_a_reload_while_the_connection_is_cut(self) -> None:
        account = self.open()
        account.click_on("cut")
        account.wander(25)
        self.page.reload()
        self.expect_state("listening")
        account.expect_acknowledged()
        self.stop()
        self.assert_stored(account)

    def test_it_is_accessible(self) -> None:
        """Every control has a name, every heading its place, and nothing is wider than a phone."""
        self.page.set_viewport_size({"width": 360, "height": 740})
        self.open()
        for control in self.page.locator("button, input").all():
            name = control.evaluate("(e) => e.ariaLabel || e.labels?.[0]?.textContent || e.textContent")
            self.assertTrue(name.strip())
        self.assertEqual(self.page.evaluate("document.documentElement.scrollWidth"), 360)
        levels = self.page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((e) => +e.tagName[1])")
        self.assertEqual(levels[0], 1)
        self.assertTrue(all(after - before <= 1 for before, after in pairwise(levels)))
