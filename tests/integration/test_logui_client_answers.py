"""What a healthy server does not answer; the test itself is the server."""

import json
from collections.abc import Callable
from typing import Any

from playwright.sync_api import WebSocketRoute

from tests.integration.test_logui_client import LogUITestCase

FULL = {"errorString": "full", "terminate": False}


def bad(position: int) -> dict[str, Any]:
    text = f"The event payload was badly formed at position [{position}]."
    return {"statusCode": "403", "errorDetails": {"errorString": text, "terminate": False}}


class AnswerTests(LogUITestCase):
    opens = False

    def script(self, answer: Callable[[dict[str, Any]], dict[str, Any] | None], **more: Any) -> None:
        """``answer`` is given every message after the handshake."""
        self.heard: list[dict[str, Any]] = []
        self.hellos: list[dict[str, Any]] = []
        self.last_payload_id = 0

        def serve(route: WebSocketRoute) -> None:
            def hear(text: str | bytes) -> None:
                message = json.loads(text)
                if message["payloadType"] == "LogUIHandshake":
                    self.hellos.append(message)
                    said: Any = {
                        "statusCode": "200",
                        "sessionIdentifier": "s",
                        "lastPayloadID": self.last_payload_id,
                    }
                else:
                    self.heard.append(message)
                    said = answer(message)
                if said is not None:
                    route.send(json.dumps(said))

            route.on_message(hear)
            self.route = route

        self.page.route_web_socket("**/logui/endpoint/0.4.0/", serve)
        self.page.clock.install()
        self.open(bufferCount=3, **more)
        self.page.clock.pause_at(4_000_000_000)

    def say(self, message: dict[str, Any]) -> None:
        self.route.send(json.dumps(message))

    def sent(self) -> list[tuple[str, int, list[int]]]:
        """(instance, id, events) of every payload; the client's own instance is ``-``."""
        own = self.hellos[0]["clientInstance"]
        return [
            (
                message["clientInstance"].replace(own, "-"),
                message["payloadID"],
                [event["eventDetails"]["n"] for event in message["eventsToBeLogged"]],
            )
            for message in self.heard
        ]

    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = self.page.evaluate("({ ...logui.counts, waiting: logui.waiting })")
        return counts

    def test_one_bad_event_does_not_cost_the_others(self) -> None:
        self.script(lambda message: bad(1) if len(self.heard) == 1 else None)
        self.log(3)
        self.wait_for("errors.length === 1")
        self.log(3)
        self.wait_for("logui.counts.sent === 6")
        self.assertEqual(self.sent(), [("-", 1, [0, 1, 2]), ("--1", 1, [0, 2]), ("-", 2, [3, 4, 5])])
        for _ in range(2):
            self.say({"statusCode": "201"})
        self.wait_for("logui.waiting === 0")
        counts = self.counts()
        self.assertEqual((counts["captured"], counts["acknowledged"], counts["refused"]), (6, 5, 1))

    def test_what_is_not_understood_is_dropped_and_told(self) -> None:
        self.script(
            lambda message: {"statusCode": "401", "errorDetails": {"errorString": "no", "terminate": False}}
        )
        self.log(3)
        self.wait_for("logui.waiting === 0")
        self.assertEqual(self.page.evaluate("errors"), ["no"])
        self.assertEqual(self.counts()["refused"], 3)

    def test_too_many_bad_requests_end_it(self) -> None:
        details = {"errorString": "exceeded", "terminate": True}
        self.script(lambda message: {"statusCode": "402", "errorDetails": details})
        self.log(2)
        self.page.evaluate("logui.flush()")
        self.wait_for("logui.state === 'refused'")
        self.assertFalse(self.page.evaluate("logui.log('later')"))
        self.page.clock.run_for(120_000)
        self.assertEqual(len(self.hellos), 1)
        self.assertEqual(self.counts()["refused"], 2)

    def test_a_server_that_cannot_store(self) -> None:
        """All of it goes again in order, after a growing pause."""
        full = True

        def answer(message: dict[str, Any]) -> dict[str, Any]:
            return {"statusCode": "500", "errorDetails": FULL} if full else {"statusCode": "201"}

        self.script(answer)
        self.log(9)
        self.wait_for("logui.counts.sent === 9")
        for pause, sent in ((1000, 6), (2000, 9)):
            self.page.clock.run_for(pause - 20)
            self.assertEqual(len(self.heard), sent - 3)
            self.page.clock.run_for(40)
            self.wait_for("true")
            self.assertEqual(len(self.heard), sent)
        full = False
        self.page.clock.run_for(4000)
        self.wait_for("logui.waiting === 0")
        self.assertEqual(self.sent()[-3:], [("-", 1, [0, 1, 2]), ("-", 2, [3, 4, 5]), ("-", 3, [6, 7, 8])])
        self.assertEqual(self.counts()["acknowledged"], 9)

    def test_what_the_handshake_says_is_stored_is_not_sent_again(self) -> None:
        self.script(lambda message: None)
        self.log(9)
        self.wait_for("logui.counts.sent === 9")
        self.heard.clear()
        self.last_payload_id = 2
        self.route.close(code=1001)
        self.wait_for("logui.state === 'shutdown'")
        self.page.clock.run_for(500)
        self.wait_for("logui.counts.acknowledged === 6")
        self.assertEqual([number for _, number, _ in self.sent()], [3])
        self.assertEqual(self.hellos[1]["sessionIdentifier"], "s")
        self.assertEqual(self.hellos[1]["clientInstance"], self.hellos[0]["clientInstance"])

    def test_a_silent_connection_is_given_up(self) -> None:
        self.script(lambda message: None)
        self.log(3)
        self.wait_for("logui.counts.sent === 3")
        self.page.clock.run_for(29_000)
        self.assertEqual(self.page.evaluate("logui.state"), "listening")
        self.page.clock.run_for(2_000)
        self.wait_for("logui.state === 'listening'")
        self.assertEqual(len(self.hellos), 2)

    def test_a_handshake_that_came_too_late_is_made_again(self) -> None:
        self.script(lambda message: None)
        details = {"errorString": "The server is shutting down.", "terminate": True}
        self.say({"statusCode": "400", "errorDetails": details})
        self.route.close(code=1008)
        self.wait_for("logui.state === 'closed'")
        self.page.clock.run_for(500)
        self.wait_for("logui.state === 'listening'")

    def test_a_refused_handshake_ends_it(self) -> None:
        self.script(lambda message: None)
        self.say({"statusCode": "400", "errorDetails": {"errorString": "No.", "terminate": True}})
        self.wait_for("logui.state === 'refused'")
        self.page.clock.run_for(120_000)
        self.assertEqual(len(self.hellos), 1)

    def test_the_oldest_stay_when_there_is_no_more_room(self) -> None:
        self.script(lambda message: None, maxWaiting=6)
        self.page.evaluate("for (let n = 0; n < 10; n++) logui.log('n', { n })")
        self.wait_for("errors.length === 1")
        self.assertEqual(self.counts()["dropped"], 4)
        for _ in range(2):
            self.say({"statusCode": "201"})
        self.wait_for("logui.waiting === 0")
        self.heard.clear()
        self.page.evaluate("logui.log('n', { n: 10 }); logui.flush()")
        self.wait_for("logui.counts.sent === 7")
        self.assertEqual([events for _, _, events in self.sent()], [[10]])

    def test_a_change_waits_and_holds_up(self) -> None:
        self.script(lambda message: None)
        self.log(3)
        self.page.evaluate("logui.setData({ a: 1 })")
        self.log(3)
        for said in (1, 2, 3):
            self.page.evaluate("0")
            self.assertEqual(len(self.heard), said)
            self.say({"statusCode": "201"})
            self.wait_for(f"logui.counts.acknowledged >= {[3, 3, 6][said - 1]}")
        self.assertEqual(self.heard[1]["appSpecificLogData"], {"a": 1})

    def test_a_change_that_was_not_answered_may_hold_or_not(self) -> None:
        """Then what it changed is said again, though nothing seems to differ."""
        self.script(lambda message: None)
        self.page.evaluate("logui.setData({ a: 1 })")
        self.page.evaluate("logui.setData({ a: null })")
        self.route.close(code=1001)
        self.wait_for("logui.state === 'shutdown'")
        self.page.clock.run_for(500)
        self.wait_for("logui.state === 'listening'")
        self.page.evaluate("0")
        self.assertEqual([said["appSpecificLogData"] for said in self.heard], [{"a": 1}, {"a": None}])

    def test_a_new_session_gets_the_data_in_force(self) -> None:
        self.script(lambda message: {"statusCode": "201"}, appData={"a": 1, "b": 1})
        self.page.evaluate("logui.setData({ b: null, c: 2 })")
        self.log(1)
        self.page.evaluate("logui.flush()")
        self.wait_for("logui.waiting === 0 && logui.counts.acknowledged === 1")
        self.route.close(code=1001)
        self.wait_for("logui.state === 'shutdown'")
        self.page.clock.run_for(500)
        self.wait_for("logui.state === 'listening'")
        self.assertEqual(self.hellos[1]["appSpecificLogData"], {"a": 1, "c": 2})
