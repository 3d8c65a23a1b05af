"""Makers that other distributions bring: those that are none are named, and harm nobody."""

from importlib.metadata import EntryPoint
from typing import Any

from attrs import evolve
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.delivery import find
from logui_tx.delivery.deliveries import make_sinks
from logui_tx.delivery.find import sink_makers, step_makers
from logui_tx.errors import BadOption
from logui_tx.plugins.logui_sinks import blackhole, jsonl
from logui_tx.plugins.logui_steps import drop
from logui_tx.sinks.maker import LazySinkMaker

GOOD = evolve(blackhole, schemes=("good",))


class WithoutSchemes:
    """As one that was written for something else."""


def without(name: str) -> Any:
    maker = LazySinkMaker(("odd",), "odd", "odd:", "nowhere:Odd")
    object.__delattr__(maker, name)
    return maker


class FindTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.said: list[str] = []
        self.entries: dict[str, Any] = {}
        self.patch(find, "entry_points", self.entry_points)
        self.patch(EntryPoint, "load", lambda entry: self.entries[entry.name])
        globalLogPublisher.addObserver(self.hear)
        self.addCleanup(globalLogPublisher.removeObserver, self.hear)

    def entry_points(self, group: str) -> list[EntryPoint]:
        return [EntryPoint(name, "nowhere", group) for name in self.entries]

    def hear(self, event: Any) -> None:
        if event.get("log_namespace") == "logui_tx.delivery.find":
            self.said.append(event["log_format"].format(**event))

    def test_sinks(self) -> None:
        self.entries = {
            "nothing": WithoutSchemes(),
            "schemeless": without("schemes"),
            "text": evolve(GOOD, schemes="bad"),
            "empty": evolve(GOOD, schemes=()),
            "number": evolve(GOOD, summary=5),
            "unhelpful": evolve(GOOD, parameters=("timeout",)),
            "good": GOOD,
        }
        makers = sink_makers()
        self.assertIn(jsonl, makers)
        bad = [name for name, one in self.entries.items() if not any(one is maker for maker in makers)]
        self.assertEqual(bad, [name for name in self.entries if name != "good"])
        self.assertEqual(len(self.said), 6)
        for name, said in zip(self.entries, self.said, strict=False):
            self.assertIn(f"the plugin {name} is no ISinkMaker: ", said)
        self.assertIn("schemes", self.said[1])

    def test_steps(self) -> None:
        self.entries = {"nameless": evolve(drop, name=None), "sink": GOOD}
        self.assertNotIn(None, [one.name for one in step_makers()])
        self.assertEqual(len(self.said), 2)

    def test_a_maker_that_fails(self) -> None:
        self.entries = {"good": evolve(GOOD, factory="builtins:dir")}
        error = self.assertRaises(BadOption, make_sinks, ["good://u:hunter2@h/"], Clock())
        self.assertEqual(str(error), "sink: good: cannot be made: TypeError")
