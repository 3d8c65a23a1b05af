"""The table of stages: for every stage and everything that can happen, what is done and what comes next."""

from typing import Any

from automat import NoTransition
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.stages import Stages, new_stages

INPUTS = {
    "message": (b"m", False),
    "misread": (),
    "admitted": ("opened",),
    "refused": ("reply",),
    "announce": (),
    "expire": (),
    "drained": (),
    "finished": (),
    "lost": (),
}

# How each stage is reached, from the first.
WAYS = {
    "awaiting": (),
    "admitting": ("message",),
    "orphaned": ("message", "lost"),
    "listening": ("message", "admitted"),
    "draining": ("message", "admitted", "announce"),
    "closed": ("expire",),
}

NEVER = None
"""What cannot happen at a stage is an error, not a silence."""

TABLE: dict[tuple[str, str], tuple[list[str], str] | None] = {
    ("awaiting", "message"): (["ask_admission m"], "admitting"),
    ("awaiting", "misread"): NEVER,
    ("awaiting", "admitted"): NEVER,
    ("awaiting", "refused"): NEVER,
    ("awaiting", "announce"): (["refuse_in_shutdown"], "closed"),
    ("awaiting", "expire"): (["refuse_late"], "closed"),
    ("awaiting", "drained"): (["refuse_in_shutdown"], "closed"),
    ("awaiting", "finished"): ([], "closed"),
    ("awaiting", "lost"): ([], "closed"),
    ("admitting", "message"): (["keep m"], "admitting"),
    ("admitting", "misread"): ([], "awaiting"),
    ("admitting", "admitted"): (["welcome opened"], "listening"),
    ("admitting", "refused"): (["send reply"], "closed"),
    ("admitting", "announce"): (["refuse_in_shutdown"], "closed"),
    ("admitting", "expire"): NEVER,
    ("admitting", "drained"): (["refuse_in_shutdown"], "closed"),
    ("admitting", "finished"): ([], "closed"),
    ("admitting", "lost"): ([], "orphaned"),
    ("orphaned", "message"): ([], "orphaned"),
    ("orphaned", "misread"): NEVER,
    ("orphaned", "admitted"): (["welcome opened", "leave"], "closed"),
    ("orphaned", "refused"): ([], "closed"),
    ("orphaned", "announce"): ([], "orphaned"),
    ("orphaned", "expire"): NEVER,
    ("orphaned", "drained"): ([], "orphaned"),
    ("orphaned", "finished"): ([], "closed"),
    ("orphaned", "lost"): ([], "orphaned"),
    ("listening", "message"): (["take m"], "listening"),
    ("listening", "misread"): NEVER,
    ("listening", "admitted"): NEVER,
    ("listening", "refused"): NEVER,
    ("listening", "announce"): (["send_announcement"], "draining"),
    ("listening", "expire"): ([], "listening"),
    ("listening", "drained"): (["send_end", "leave"], "closed"),
    ("listening", "finished"): (["leave"], "closed"),
    ("listening", "lost"): (["leave"], "closed"),
    ("draining", "message"): (["take m"], "draining"),
    ("draining", "misread"): NEVER,
    ("draining", "admitted"): NEVER,
    ("draining", "refused"): NEVER,
    ("draining", "announce"): ([], "draining"),
    ("draining", "expire"): ([], "draining"),
    ("draining", "drained"): (["send_end", "leave"], "closed"),
    ("draining", "finished"): (["leave"], "closed"),
    ("draining", "lost"): (["leave"], "closed"),
    ("closed", "message"): ([], "closed"),
    ("closed", "misread"): NEVER,
    ("closed", "admitted"): (["release opened"], "closed"),
    ("closed", "refused"): ([], "closed"),
    ("closed", "announce"): ([], "closed"),
    ("closed", "expire"): ([], "closed"),
    ("closed", "drained"): ([], "closed"),
    ("closed", "finished"): ([], "closed"),
    ("closed", "lost"): ([], "closed"),
}


class Recorder:
    """Writes down what is asked of it, with the first argument."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def act(*args: Any) -> None:
            first = args[0] if args else ""
            text = first.decode() if isinstance(first, bytes) else first
            self.done.append(f"{name} {text}".strip())

        return act


def reach(stage: str) -> tuple[Recorder, Stages]:
    recorder = Recorder()
    machine = new_stages(recorder)
    for name in WAYS[stage]:
        tell(machine, name)
    recorder.done.clear()
    return recorder, machine


def tell(machine: Stages, name: str) -> None:
    getattr(machine, name)(*INPUTS[name])


def stage_of(machine: Any) -> str:
    return str(machine.__automat_transitioner__._state.name)


class TableTests(SynchronousTestCase):
    def test_every_stage_is_reached(self) -> None:
        for stage in WAYS:
            self.assertEqual(stage_of(reach(stage)[1]), stage)

    def test_the_table_is_whole(self) -> None:
        self.assertEqual(set(TABLE), {(stage, name) for stage in WAYS for name in INPUTS})

    def test_everything_that_can_happen(self) -> None:
        for (stage, name), expected in TABLE.items():
            recorder, machine = reach(stage)
            if expected is NEVER:
                self.assertRaises(NoTransition, tell, machine, name)
                self.assertEqual((recorder.done, stage_of(machine)), ([], stage))
            else:
                tell(machine, name)
                self.assertEqual((recorder.done, stage_of(machine)), expected, (stage, name))


class ReentrantTests(SynchronousTestCase):
    def test_what_happens_inside_an_action_comes_after_it(self) -> None:
        recorder, machine = reach("admitting")

        def welcome(opened: str) -> None:
            machine.message(b"1", False)
            machine.message(b"2", False)
            machine.finished()
            machine.message(b"3", False)
            recorder.done.append("welcomed")

        recorder.welcome = welcome
        machine.admitted("opened")
        self.assertEqual(recorder.done, ["welcomed", "take 1", "take 2", "leave"])

    def test_an_orphan_is_heard_to_the_end(self) -> None:
        recorder, machine = reach("orphaned")
        recorder.welcome = lambda opened: machine.message(b"kept", False)
        machine.admitted("opened")
        self.assertEqual((recorder.done, stage_of(machine)), (["take kept", "leave"], "closed"))
