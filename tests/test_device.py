"""What a client runs on, by its User-Agent."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.web.device import device_of

MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 Chrome/130.0.0.0 Safari/537.36"
LINUX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"


class DeviceTests(SynchronousTestCase):
    def test_known(self) -> None:
        for agent, device in (
            (MAC, {"os": "Mac OS X", "browser": "Chrome"}),
            (LINUX, {"os": "Linux", "browser": "Firefox"}),
            ("curl/8.0", {"browser": "curl"}),
        ):
            self.assertEqual(json.loads(device_of(agent) or ""), device)

    def test_unknown(self) -> None:
        for agent in ("", "x", "\0", "'; DROP TABLE"):
            self.assertIsNone(device_of(agent))

    def test_only_the_beginning_counts(self) -> None:
        self.assertIsNone(device_of("x" * 10_000_000 + MAC))

    @settings(deadline=None)
    @given(st.text(max_size=600) | st.text("Mozila/5.0 (;)Win", max_size=600))
    def test_anything(self, agent: str) -> None:
        device = device_of(agent)
        if device is not None:
            self.assertLessEqual(json.loads(device).keys(), {"os", "browser"})
