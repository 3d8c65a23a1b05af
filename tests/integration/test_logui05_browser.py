"""How a browser tells a page that its connection ended: the released LogUI client goes by that alone."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.browser import BrowserTestCase
from tests.integration.logui05 import exported
from tests.integration.process import logui_json
from tests.logui05 import events, handshake, item

ITEM = "ITEM"
PAGE = """
([url, hello, message]) => new Promise((welcome) => {
  const socket = new WebSocket(url);
  let count = 0;
  const send = () => {
    if (socket.readyState !== WebSocket.OPEN) return;
    for (let n = 0; n < 10; n++) socket.send(message.replace('"ITEM"', ++count));
  };
  window.say = (text) => socket.send(text);
  window.ended = new Promise((tell) => {
    socket.onclose = (end) => tell([end.code, end.wasClean]);
  });
  window.ended.then(welcome);
  socket.onopen = () => socket.send(hello);
  socket.onmessage = () => { setInterval(send, 1); welcome(null); };
})
"""


class BrowserTests(BrowserTestCase):
    server_options = ("--demo",)

    def begin(self, **changes: Any) -> Any:
        """A page that logs all the time; None, or how its connection ended instead."""
        port = self.server.port
        token = logui_json(self.data_dir, "flight", "token", "Demo")["token"]
        self.page.goto(f"http://127.0.0.1:{port}/")
        told = {"pageOrigin": f"http://127.0.0.1:{port}", **changes}
        message = json.dumps(events(item(eventDetails=ITEM)))
        url = f"ws://127.0.0.1:{port}/ws/endpoint/"
        return self.page.evaluate(PAGE, [url, json.dumps(handshake(token, **told)), message])

    def end(self) -> Any:
        return self.page.evaluate("() => ended")

    def test_a_stop(self) -> None:
        self.assertIsNone(self.begin())
        self.stop()
        self.assertEqual(self.end(), [1006, False])
        numbers = [json.loads(record["event"])["eventDetails"] for record in exported(self.data_dir, "Demo")]
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)))
        (session,) = self.sessions("logui-0.5")
        self.assertEqual(session.end_reason, "serverShutdown")

    def test_a_crash(self) -> None:
        self.assertIsNone(self.begin())
        self.server.kill()
        self.assertEqual(self.end(), [1006, False])

    def test_a_message_past_the_size_limit(self) -> None:
        self.assertIsNone(self.begin())
        self.page.evaluate("() => say('x'.repeat(5 << 20))")
        self.assertEqual(self.end(), [1006, False])

    def test_codes(self) -> None:
        self.assertEqual(self.begin(clientVersion="0.4.0"), [4003, True])
        self.assertIsNone(self.begin())
        self.page.evaluate("() => say('?')")
        self.assertEqual(self.end(), [4001, True])

    def test_overload(self) -> None:
        self.stop()
        self.server_options = (*self.server_options, "--max-connections=1")
        self.server = self.serve()
        self.assertIsNone(self.begin())
        self.page = self.new_page()
        self.assertEqual(self.begin(), [1006, False])
