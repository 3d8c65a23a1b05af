import json
from collections.abc import Callable
from typing import Any

from playwright.sync_api import WebSocketRoute, expect

from tests.integration.browser import Account, DemoPageTestCase
from tests.integration.process import logui_json


class LoggingTests(DemoPageTestCase):
    def test_what_is_done_is_stored(self) -> None:
        account = self.open()
        account.wander(45)
        account.click_on("circle")
        account.wander(3, 45)
        account.click_on("leaf")
        account.click(3, 3, "", "body")
        account.expect_acknowledged()
        self.assertEqual(self.complaints, [])
        shown = self.page.locator("#session").inner_text()
        rows = self.page.locator("#payloads tr.answered")
        sizes = [int(row.locator("td").nth(1).inner_text()) for row in rows.all()]
        self.assertEqual(sum(sizes), len(account.events))
        self.assertLessEqual(max(sizes), 20)
        for row in rows.all():
            self.assertRegex(row.locator("td").nth(3).inner_text(), r"^\d+\.\d ms$")
        self.stop()
        self.assert_stored(account)
        self.assertEqual(self.sessions()[0].id, shown)
        self.assertEqual({event["eventType"] for _, event, _ in self.stored()}, {"interactionEvent"})

    def test_events_carry_the_time_at_which_they_happened(self) -> None:
        self.page.clock.install(time=1_800_000_000)
        account = self.open()
        self.page.clock.pause_at(1_800_001_000)
        account.wander(1)
        self.page.clock.run_for(250)
        account.wander(1, 1)
        self.page.clock.run_for(1000)
        account.expect_acknowledged()
        self.stop()
        times = [event["clientDateTime"] for _, event, _ in self.stored()]
        self.assertEqual(times, [1_800_001_000_000, 1_800_001_000_250])

    def test_a_custom_event(self) -> None:
        account = self.open()
        account.click_on("custom")
        account.events.append({"type": "custom", "from": "the demo page"})
        account.expect_acknowledged()
        self.stop()
        self.assert_stored(account)
        self.assertEqual(self.stored()[-1][1]["eventType"], "customEvent")

    def test_a_changed_condition_holds_from_there_on(self) -> None:
        hostile = "<img src=x onerror=console.log(1)>"
        account = self.open()
        account.wander(2)
        self.page.locator("#condition").fill(hostile)
        self.page.locator("#condition").press("Enter")
        # Enter clicks the form's button.
        expect(self.page.locator("#in-force")).to_have_text(hostile)
        account.wander(2, 2)
        expect(self.page.locator("#acknowledged")).to_have_text("5")
        self.assertEqual(self.page.locator("img").count(), 0)
        self.assertEqual(self.complaints, [])
        self.stop()
        conditions = [data["condition"] for _, _, data in self.stored()]
        self.assertEqual(conditions, ["A"] * 3 + [hostile] * 2)

    def test_nothing_typed_is_logged(self) -> None:
        account = self.open()
        account.click_on("condition")
        account.events[-1]["target"]["tag"] = "input"
        self.page.keyboard.type("correct horse battery")
        account.wander(1)
        account.expect_acknowledged()
        self.stop()
        self.assert_stored(account)
        self.assertNotIn("battery", json.dumps(self.stored()))

    def test_the_list_of_payloads_is_bounded_and_newest_first(self) -> None:
        account = self.open()
        account.wander(25 * 20)
        account.expect_acknowledged()
        ids = [int(cell) for cell in self.page.locator("#payloads td:first-child").all_inner_texts()]
        self.assertEqual(ids, list(range(ids[0], ids[0] - 20, -1)))
        self.assertGreaterEqual(ids[0], 25)


class EndingTests(DemoPageTestCase):
    def test_leaving_ends_the_session(self) -> None:
        account = self.open()
        account.wander(5)
        account.click_on("leave")
        self.expect_state("left")
        account.expect_acknowledged()
        self.page.mouse.move(300, 300)
        account.expect_acknowledged()
        self.assertEqual(self.ended().end_reason, "leavingPage")
        self.stop()
        self.assert_stored(account)
        self.assertEqual(len(self.sessions()), 1)

    def test_coming_back_goes_on_with_the_session(self) -> None:
        account = self.open()
        account.click_on("leave")
        self.expect_state("left")
        self.page.mouse.move(300, 300)
        # This click is not logged: it is what begins the logging again.
        self.page.locator("#reconnect").click()
        self.expect_state("listening")
        account.wander(5)
        account.expect_acknowledged()
        self.page.close()
        self.stop()
        self.assert_stored(account)

    def test_a_closed_tab_sends_what_it_still_had(self) -> None:
        account = self.open_frozen()
        account.wander(33)
        expect(self.page.locator("#acknowledged")).to_have_text("20")
        expect(self.page.locator("#waiting")).to_have_text("13")
        self.page.close()
        self.stop()
        self.assert_stored(account)
        self.assertEqual(self.sessions()[0].end_reason, "leavingPage")

    def test_another_page_in_the_tab_sends_what_it_still_had(self) -> None:
        account = self.open_frozen()
        account.wander(7)
        self.page.goto(f"http://127.0.0.1:{self.server.port}/")
        self.stop()
        self.assert_stored(account)
        self.assertEqual(self.sessions()[0].end_reason, "leavingPage")


class ReconnectingTests(DemoPageTestCase):
    def test_a_killed_server(self) -> None:
        """What was under way when it died, and what was done while it was away, is stored once."""
        account = self.open()
        session = self.page.locator("#session").inner_text()
        account.wander(50)
        self.server.kill()
        self.expect_state("closed")
        account.wander(50, 50)
        expect(self.page.locator("#waiting")).not_to_have_text("0")
        self.server = self.serve(self.server.port)
        account.wander(10, 100)
        account.expect_acknowledged()
        self.expect_state("listening")
        self.assertEqual(self.page.locator("#session").inner_text(), session)
        self.stop()
        self.assert_stored(account)
        self.assertEqual(self.sessions()[0].id, session)

    def test_a_stopped_server_is_left_with_everything_acknowledged(self) -> None:
        account = self.open_frozen()
        account.wander(5)
        # It need not wait for the end of its drain time: the page goes when nothing is owed any more.
        self.stop()
        account.expect_acknowledged()
        self.expect_state("shutdown")
        expect(self.page.locator("#detail")).to_contain_text("Trying again in")
        account.wander(5, 5)
        self.server = self.serve(self.server.port)
        self.page.clock.run_for(1000)
        account.expect_acknowledged()
        self.expect_state("listening")
        self.stop()
        self.assert_stored(account)

    def test_the_button(self) -> None:
        account = self.open()
        account.wander(30)
        account.click_on("reconnect")
        account.wander(30, 30)
        account.expect_acknowledged()
        self.stop()
        self.assert_stored(account)


class RefusedTests(DemoPageTestCase):
    def test_a_foreign_host_is_told_in_plain_words(self) -> None:
        self.open("study.example", "refused")
        expect(self.page.locator("#detail")).to_contain_text("is not one of the flight's domains")
        expect(self.page.locator("#advice")).to_be_visible()
        expect(self.page.locator("#advice")).to_contain_text("You opened this page as “study.example”")
        expect(self.page.locator("#advice")).to_contain_text(f"http://localhost:{self.server.port}/demo/")
        self.page.mouse.move(300, 300)
        expect(self.page.locator("#captured")).to_have_text("0")
        self.stop()
        self.assertEqual(self.sessions(), [])

    def test_localhost_is_welcome(self) -> None:
        account = self.open("localhost")
        account.wander(1)
        account.expect_acknowledged()

    def test_another_refusal_is_shown_without_advice_about_the_host(self) -> None:
        logui_json(self.data_dir, "flight", "disable", "Demo")
        self.page.goto(f"http://127.0.0.1:{self.server.port}/demo/")
        self.expect_state("refused")
        expect(self.page.locator("#detail")).to_have_text("The flight is not active.")
        expect(self.page.locator("#advice")).to_be_hidden()


class ScriptedTests(DemoPageTestCase):
    """Answers that a healthy server does not give; the test itself is the server."""

    def script(self, answer: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
        """``answer`` is given every message after the handshake."""
        self.heard: list[dict[str, Any]] = []
        self.hellos: list[dict[str, Any]] = []
        self.last_payload_id = 0

        def serve(route: WebSocketRoute) -> None:
            def hear(text: str | bytes) -> None:
                message = json.loads(text)
                if message["payloadType"] == "LogUIHandshake":
                    self.hellos.append(message)
                    last = self.last_payload_id
                    said: Any = {"statusCode": "200", "sessionIdentifier": "s", "lastPayloadID": last}
                else:
                    self.heard.append(message)
                    said = answer(message)
                if said is not None:
                    route.send(json.dumps(said))

            route.on_message(hear)
            self.answer = lambda message: route.send(json.dumps(message))
            self.hang_up = route.close

        self.page.route_web_socket("**/logui/endpoint/0.4.0/", serve)

    def test_what_could_not_be_stored_is_sent_again_in_order(self) -> None:
        full = True

        def answer(message: dict[str, Any]) -> dict[str, Any]:
            payload_id = message["payloadID"]
            if full:
                details = {"errorString": "full", "terminate": False}
                return {"statusCode": "500", "payloadID": payload_id, "errorDetails": details}
            return {"statusCode": "201", "payloadID": payload_id}

        self.script(answer)
        account = self.open_frozen()
        account.wander(50)
        expect(self.page.locator("#detail")).to_contain_text("cannot store at the moment")
        expect(self.page.locator("#waiting")).to_have_text("50")
        self.assertEqual([message["payloadID"] for message in self.heard], [1])
        self.page.clock.run_for(990)
        self.assertEqual(len(self.heard), 1)
        full = False
        self.page.clock.run_for(20)
        account.expect_acknowledged()
        self.assertEqual([message["payloadID"] for message in self.heard], [1, 1, 2, 3])
        events = [
            event["eventDetails"] for message in self.heard[1:] for event in message["eventsToBeLogged"]
        ]
        self.assertEqual(events, account.events)
        expect(self.page.locator("#detail")).to_have_text("")

    def test_a_change_waits_for_what_is_before_and_holds_up_what_is_after(self) -> None:
        """Else what is sent again could be stored with the wrong data."""
        self.script(lambda message: None)
        account = self.open_frozen()
        account.wander(20)
        self.page.locator("#condition").fill("B")
        self.page.locator("#condition").press("Enter")
        account.wander(20, 20)
        payload, change = "LogUIEventPayload", "LogUIAppSpecificLogDataChange"
        # The second payload holds the click by which the key pressed the button.
        for sent, acknowledged, said in (
            ("21", "0", [payload, payload]),
            ("21", "20", [payload, payload]),
            ("21", "21", [payload, payload, change]),
            ("41", "21", [payload, payload, change, payload]),
            ("41", "41", [payload, payload, change, payload]),
        ):
            expect(self.page.locator("#sent")).to_have_text(sent)
            expect(self.page.locator("#acknowledged")).to_have_text(acknowledged)
            self.assertEqual([message["payloadType"] for message in self.heard], said)
            if acknowledged != "41":
                self.answer({"statusCode": "201"})

    def test_a_server_that_shuts_down_is_left_when_nothing_is_owed(self) -> None:
        self.script(lambda message: None)
        account = self.open_frozen()
        account.wander(3)
        self.answer({"statusCode": "501"})
        self.expect_state("shutdown")
        expect(self.page.locator("#sent")).to_have_text("3")
        expect(self.page.locator("#detail")).to_have_text("What was captured is still stored.")
        self.answer({"statusCode": "201", "payloadID": 1})
        account.expect_acknowledged()
        expect(self.page.locator("#detail")).to_contain_text("Trying again in")
        self.expect_state("shutdown")

    def lose_connection(self) -> Account:
        """While three payloads wait for their acknowledgement; then the page connects again."""
        self.script(lambda message: None)
        account = self.open_frozen()
        account.wander(60)
        expect(self.page.locator("#sent")).to_have_text("60")
        self.hang_up(code=1001, reason="server shutdown")
        self.expect_state("shutdown")
        self.assertEqual(self.page.locator("#waiting").inner_text(), "60")
        return account

    def test_after_a_lost_connection_only_what_is_missing_is_sent_again(self) -> None:
        account = self.lose_connection()
        self.heard.clear()
        self.last_payload_id = 2
        self.page.clock.run_for(500)
        expect(self.page.locator("#acknowledged")).to_have_text("40")
        self.expect_state("listening")
        self.assertEqual([message["payloadID"] for message in self.heard], [3])
        self.assertEqual(
            [event["eventDetails"] for event in self.heard[0]["eventsToBeLogged"]], account.events[40:]
        )
        self.answer({"statusCode": "201", "payloadID": 3})
        account.expect_acknowledged()

    def test_a_session_is_asked_for_by_its_name_and_the_pages(self) -> None:
        """Without the instance the server could not tell the page's payloads from another page's."""
        self.lose_connection()
        self.page.clock.run_for(500)
        self.expect_state("listening")
        first, second = self.hellos
        self.assertNotIn("sessionIdentifier", first)
        self.assertEqual(second["sessionIdentifier"], "s")
        self.assertEqual(second["clientInstance"], first["clientInstance"])
        self.assertGreater(len(first["clientInstance"]), 15)

    def test_it_waits_longer_after_every_failure(self) -> None:
        self.lose_connection()
        attempts: list[WebSocketRoute] = []

        def hang_up(route: WebSocketRoute) -> None:
            attempts.append(route)
            route.close(code=1011, reason=f"no {len(attempts)}")

        self.page.route_web_socket("**/logui/endpoint/0.4.0/", hang_up)
        detail = self.page.locator("#detail")
        for attempt, longest in enumerate((0.5, 1, 2, 4, 8, 15, 15), 1):
            seconds = float(detail.inner_text().removesuffix(" s.").rpartition(" ")[2])
            self.assertGreaterEqual(seconds + 0.05, longest / 2)
            self.assertLessEqual(seconds - 0.05, longest)
            self.assertEqual(len(attempts), attempt - 1)
            self.page.clock.run_for(seconds * 1000 + 60)
            expect(detail).to_contain_text(f"1011, no {attempt}. Trying again in")
            self.assertEqual(len(attempts), attempt)

    def test_too_many_bad_requests_end_it(self) -> None:
        details = {"errorString": "The number of bad requests has been exceeded.", "terminate": True}
        self.script(lambda message: {"statusCode": "402", "errorDetails": details})
        account = self.open_frozen()
        account.wander(20)
        self.expect_state("refused")
        expect(self.page.locator("#detail")).to_have_text(details["errorString"])
        expect(self.page.locator("#advice")).to_be_hidden()
        self.hang_up(code=1008)
        self.page.clock.run_for(60_000)
        expect(self.page.locator("#detail")).to_have_text(details["errorString"])
        self.assertEqual(len(self.hellos), 1)

    def test_a_bad_payload_is_shown_and_not_sent_again(self) -> None:
        hostile = "<b id=hostile>bad</b>"
        details = {"errorString": hostile, "terminate": False, "badEventData": {}}
        self.script(
            lambda message: (
                {"statusCode": "403", "errorDetails": details}
                if message["payloadID"] == 1
                else {"statusCode": "201", "payloadID": 2}
            )
        )
        account = self.open_frozen()
        account.wander(40)
        expect(self.page.locator("#acknowledged")).to_have_text("20")
        expect(self.page.locator("#waiting")).to_have_text("0")
        expect(self.page.locator("#payloads tr td:last-child").last).to_have_text(hostile)
        self.assertEqual(self.page.locator("#hostile").count(), 0)
        self.assertEqual([message["payloadID"] for message in self.heard], [1, 2])
