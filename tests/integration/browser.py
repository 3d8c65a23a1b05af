"""A real Chromium on the demo page of a real server in a process of its own."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.dialects.kraken import Kraken
from logui_tx.dialects.logui04 import LogUI04
from logui_tx.interfaces import IDialect
from logui_tx.journal.reader import JournalReader
from logui_tx.journal.schema import open_reader
from logui_tx.model import Session
from tests.integration.process import ServerProcess

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    *["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
    *["--disable-background-networking", "--disable-component-update", "--disable-sync"],
    "--host-resolver-rules=MAP study.example 127.0.0.1",
    # The address bar's suggestions, whose pages take more of the processor in each window than what is
    # tested; and all that Playwright turns off, because the last such argument is the one that counts.
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup,"
    "AvoidUnnecessaryBeforeUnloadCheckSync,DestroyProfileOnBrowserClose,HttpsUpgrades,"
    "HttpsFirstBalancedModeAutoEnable,LensOverlay,MediaRouter,PaintHolding,ThirdPartyStoragePartitioning,"
    "AvoidCorsURLLoaderRestartOnRedirect,TcpPortRandomizationWin,OptimizationHints,"
    "NetworkTimeServiceQuerying,AimEnabled,PreconnectToSearch",
]
DIALECTS: dict[str, IDialect] = {"logui-0.4": LogUI04(), "kraken": Kraken()}
PATIENCE = 60_000
"""Milliseconds until something that never comes fails its test; nothing is expected to take long."""

expect.set_options(timeout=PATIENCE)


class Account:
    """What the visitor did, as it should be stored."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.events: list[dict[str, Any]] = []

    def move(self, x: int, y: int) -> None:
        self.page.mouse.move(x, y)
        self.events.append({"type": "mousemove", "x": x, "y": y})

    def click(self, x: int, y: int, target: str, tag: str = "button") -> None:
        """Go there and click."""
        self.move(x, y)
        self.page.mouse.down()
        self.page.mouse.up()
        self.events.append({"type": "click", "x": x, "y": y, "target": {"id": target, "tag": tag}})

    def click_on(self, target: str) -> None:
        box = self.page.locator(f"#{target}").bounding_box()
        assert box is not None
        self.click(int(box["x"] + box["width"] / 2), int(box["y"] + box["height"] / 2), target)

    def wander(self, count: int, first: int = 0) -> None:
        """Moves over the playing field, no two the same."""
        box = self.page.locator("#field").bounding_box()
        assert box is not None
        for n in range(first, first + count):
            self.move(int(box["x"]) + 5 + n % 250, int(box["y"]) + 5 + n // 250)

    def expect_acknowledged(self) -> None:
        """Wait until the page says that all of it is stored."""
        expect(self.page.locator("#captured")).to_have_text(str(len(self.events)))
        expect(self.page.locator("#acknowledged")).to_have_text(str(len(self.events)))
        expect(self.page.locator("#waiting")).to_have_text("0")


class BrowserTestCase(SynchronousTestCase):
    """``self.page`` in a Chromium, ``self.server`` on ``self.data_dir``.

    The tests of a class share the Chromium, which takes longer to start than most of them last; each has a
    context of its own: cookies, storage, cache and pages.
    """

    program: tuple[str, ...] | None = None
    """What starts the server, if it is not to be a fork."""
    server_options: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    """Arguments that Playwright would give to Chromium and that are left out."""
    browser: Browser

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        playwright = sync_playwright().start()
        cls.addClassCleanup(playwright.stop)
        cls.browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=ARGUMENTS, timeout=PATIENCE, ignore_default_args=list(cls.without)
        )
        cls.addClassCleanup(cls.browser.close)

    def setUp(self) -> None:
        self.data_dir = Path(self.enterContext(TemporaryDirectory()))
        self.server = self.serve()
        self.context = self.browser.new_context(viewport={"width": 1280, "height": 900})
        self.addCleanup(self.context.close)
        self.complaints: list[str] = []
        self.page = self.new_page()

    def serve(self, port: int = 0) -> ServerProcess:
        running = ServerProcess(self.data_dir, *self.server_options, port=port, program=self.program)
        self.addCleanup(running.kill)
        return running

    def new_page(self) -> Page:
        page = self.context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        return page

    def stop(self) -> None:
        self.assertEqual(self.server.stop(), 0, self.server.log)

    def sessions(self, dialect: str = "logui-0.4") -> list[Session]:
        with closing(open_reader(self.data_dir)) as connection:
            return [one for one in JournalReader(connection).sessions() if one.dialect == dialect]

    def ended(self) -> Session:
        """The first session, once the journal holds its end: a page hears the goodbye before that."""
        while (session := self.sessions()[0]).end_reason is None:
            self.page.wait_for_timeout(10)
        return session

    def stored(self, dialect: str = "logui-0.4") -> list[tuple[int, dict[str, Any], dict[str, Any]]]:
        """(sequence number, event, application-specific data) of all that is on disk."""
        with closing(open_reader(self.data_dir)) as connection:
            return [
                (message.first_seq + place, json.loads(event.raw), json.loads(message.app_data))
                for message in JournalReader(connection).messages(self.sessions(dialect))
                for place, event in enumerate(DIALECTS[dialect].events(message.message))
            ]


class DemoPageTestCase(BrowserTestCase):
    """The demo page."""

    server_options = ("--demo",)

    def open_frozen(self) -> Account:
        """With a clock that stands still unless told to run: nothing is sent or tried again by time."""
        self.page.clock.install()
        account = self.open()
        self.page.clock.pause_at(4_000_000_000)
        return account

    def open(self, host: str = "127.0.0.1", state: str = "listening") -> Account:
        self.page.goto(f"http://{host}:{self.server.port}/demo/")
        self.expect_state(state)
        return Account(self.page)

    def expect_state(self, state: str) -> None:
        expect(self.page.locator("#state")).to_have_attribute("data-state", state)

    def assert_stored(self, account: Account) -> None:
        """All that was done, once and in order, in one session."""
        stored = self.stored()
        self.assertEqual([event["eventDetails"] for _, event, _ in stored], account.events)
        self.assertEqual([seq for seq, _, _ in stored], list(range(1, len(stored) + 1)))
        self.assertEqual(len(self.sessions()), 1)
