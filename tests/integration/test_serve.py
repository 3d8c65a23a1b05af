from pathlib import Path

from tests.integration.browser import DemoPageTestCase
from tests.integration.process import logui
from tests.integration.sessions import exported

SERVE = Path(__file__).parents[2] / "bin" / "serve"


class ServeTests(DemoPageTestCase):
    """The README's first command, a browser, and the data that comes out."""

    program = (str(SERVE),)
    server_options = ()

    def test_what_a_visitor_does_is_exported(self) -> None:
        account = self.open("localhost")
        account.wander(30)
        account.click_on("square")
        account.expect_acknowledged()
        self.assertEqual(self.complaints, [])
        records = [one for one in exported(self.data_dir, "Demo") if one["dialect"] == "logui-0.4"]
        self.assertEqual([record["event"]["eventDetails"] for record in records], account.events)
        self.assertEqual([record["seq"] for record in records], list(range(1, len(account.events) + 1)))
        self.assertEqual(len({record["sessionID"] for record in records}), 1)
        for form in ("csv", "logui"):
            shown = logui(self.data_dir, "export", "--flight", "Demo", "--format", form)
            self.assertEqual(shown.stdout.count("mousemove"), 31 * (2 if form == "csv" else 1))
        self.stop()
        log = "".join(self.server.log)
        self.assertIn(f"demo page http://localhost:{self.server.port}/demo/", log)
        self.assertIn(f"data folder {self.data_dir}", log)
        self.assertIn("Ctrl-C", log)
