"""Options: each one, its units, the file, what wins, and what is said of mistakes."""

import ipaddress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis
from attrs import fields, fields_dict
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import BadOption
from logui_tx.model import Limits
from logui_tx.options import (
    OPTIONS,
    Settings,
    count,
    duration,
    level,
    network,
    read_file,
    settings,
    size,
    text,
)
from logui_tx.tap import Options

# Generated tests find mistakes, not slowness.
unhurried = hypothesis.settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Each option: as it is written, and as it is then.
WRITTEN: dict[str, tuple[str, Any]] = {
    "listen": ("tcp:9000", ("tcp:9000",)),
    "data-dir": ("/srv/study", Path("/srv/study")),
    "session-store": ("redis://h", "redis://h"),
    "database": ("sqlite:////x", "sqlite:////x"),
    "registry-stale": ("2h", 7200.0),
    "secret-key-file": ("/etc/logui/key", Path("/etc/logui/key")),
    "legacy-secret-key-file": ("/etc/logui/legacy.key", Path("/etc/logui/legacy.key")),
    "sink": ("blackhole:", ("blackhole:",)),
    "sink-alarm": ("5m", 300.0),
    "metrics-from": ("10.0.0.1/8", (ipaddress.ip_network("10.0.0.0/8"),)),
    "trusted-proxy": ("10.0.0.1/8", (ipaddress.ip_network("10.0.0.0/8"),)),
    "handshake-timeout": ("250ms", 0.25),
    "resume-window": ("1d", 86_400.0),
    "drain-timeout": ("0", 0.0),
    "ping-interval": ("1.5m", 90.0),
    "ping-timeout": ("7", 7.0),
    "max-message-size": ("1KiB", 1024),
    "max-events": ("7", 7),
    "max-app-data": ("2 MB", 2 * 1024**2),
    "max-unacknowledged": ("9", 9),
    "max-in-flight": ("1GiB", 1024**3),
    "max-instances": ("3", 3),
    "max-connections": ("11", 11),
    "max-connections-per-address": ("0", 0),
    "ticket-ttl": ("1m", 60.0),
    "init-rate": ("0", 0),
    "max-init-size": ("4KiB", 4096),
    "commit-delay": ("5ms", 0.005),
    "compression": ("19", 19),
}
FLAGS = {"demo"}
OPTION = {option.name: option for option in OPTIONS}
SIZES = [option.name for option in OPTIONS if option.read is size]
TIMES = [option.name for option in OPTIONS if option.read is duration]


def found(given_: Settings, name: str) -> Any:
    key = name.replace("-", "_")
    return getattr(given_.limits if key in fields_dict(Limits) else given_, key)


class ReadersTests(SynchronousTestCase):
    @unhurried
    @given(
        st.integers(0, 10**12), st.sampled_from([("", 0), ("B", 0), ("K", 1), ("M", 2), ("G", 3)]), st.data()
    )
    def test_sizes(self, number: int, unit: tuple[str, int], data: st.DataObject) -> None:
        letter, power = unit
        suffix = letter + (data.draw(st.sampled_from(["B", "iB"])) if power else "")
        written = data.draw(st.sampled_from([suffix, suffix.lower()]))
        space = data.draw(st.sampled_from(["", " "]))
        self.assertEqual(size(f"{space}{number}{space}{written}"), number * 1024**power)

    @unhurried
    @given(
        st.decimals(0, 10**6, places=3),
        st.sampled_from([("", 1), ("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)]),
    )
    def test_durations(self, number: Any, unit: tuple[str, float]) -> None:
        self.assertAlmostEqual(duration(f"{number}{unit[0]}"), float(number) * unit[1])
        self.assertEqual(duration(f"{int(number)} {unit[0]}"), int(number) * unit[1])

    @unhurried
    @given(st.text(max_size=8) | st.text("0123456789.-+eKMGiBmshd ", max_size=8))
    def test_any_text_is_read_or_a_value_error(self, written: str) -> None:
        for read in (size, duration, count, level, network, text):
            try:
                value = read(written)
            except ValueError as error:
                self.assertIn(" ", str(error))
            else:
                self.assertTrue(read in (network, text) or value >= 0)

    def test_wrong(self) -> None:
        for read, wrongs in {
            size: ["", "x", "-1", "1.5", "1.5MiB", "4TiB", "4 M iB", "MiB", "1e3", "0x10", "4MiBs"],
            duration: ["", "x", "-1", "1w", "s", "1e3", "inf", "nan", "1.", ".5", "1M", "5 minutes"],
            count: ["", "x", "-1", "1.5", "1e3", "10" * 10, "5k"],
            level: ["", "0", "20", "-1", "x"],
            network: ["", "x", "10.0.0.0/33", "300.0.0.1", "::/129", "example.org"],
            text: ["", "  "],
        }.items():
            for wrong in wrongs:
                with self.assertRaises(ValueError, msg=f"{read.__name__} {wrong!r}"):
                    read(wrong)


class SettingsTests(SynchronousTestCase):
    def test_the_defaults_are_those_of_the_model(self) -> None:
        """Each default is written twice, in the table as text and in the model as value."""
        defaults = settings({})
        self.assertEqual(defaults, Settings(data_dir=(Path.cwd() / "logui-data")))
        self.assertEqual(defaults.limits, Limits())

    def test_every_field_has_an_option_and_the_other_way_round(self) -> None:
        names = {option.key for option in OPTIONS}
        limits = set(fields_dict(Limits))
        self.assertEqual(names, {field.name for field in fields(Settings)} - {"limits"} | limits)
        self.assertEqual({option.key for option in OPTIONS if option.limit}, limits)
        self.assertEqual(set(WRITTEN) | FLAGS, {option.name for option in OPTIONS})
        self.assertEqual(FLAGS, {option.name for option in OPTIONS if option.flag})

    def test_every_option_alone(self) -> None:
        defaults = settings({})
        for name, (written, expected) in WRITTEN.items():
            changed = settings({name: written})
            self.assertEqual(found(changed, name), expected, name)
            self.assertIs(type(found(changed, name)), type(expected), name)
            for other in {*WRITTEN, *FLAGS} - {name}:
                self.assertEqual(found(changed, other), found(defaults, other), f"{name} changed {other}")
        self.assertIs(settings({"demo": True}).demo, True)

    def test_every_option_on_the_command_line(self) -> None:
        for name, (written, expected) in WRITTEN.items():
            for words in ([f"--{name}", written], [f"--{name}={written}"]):
                options = Options()
                options.parseOptions(words)
                self.assertEqual(found(options.settings, name), expected, name)
        options = Options()
        options.parseOptions(["--demo", "--listen", "tcp:1", "--listen", "tcp:2"])
        self.assertEqual((options.settings.demo, options.settings.listen), (True, ("tcp:1", "tcp:2")))

    def test_many(self) -> None:
        self.assertEqual(settings({"listen": ["tcp:1", "tcp:2"]}).listen, ("tcp:1", "tcp:2"))
        self.assertEqual(settings({"trusted-proxy": []}).trusted_proxy, ())
        proxies = settings({"trusted-proxy": ["127.0.0.1", "::1"]}).trusted_proxy
        self.assertEqual(proxies, (ipaddress.ip_network("127.0.0.1/32"), ipaddress.ip_network("::1/128")))

    def test_the_data_folder_is_absolute(self) -> None:
        self.assertEqual(settings({"data-dir": "x/y"}).data_dir, Path.cwd() / "x/y")
        self.assertEqual(settings({"data-dir": "~/x"}).data_dir, Path.home() / "x")
        self.assertEqual(settings({"secret-key-file": "~/x"}).secret_key_file, Path.home() / "x")

    def test_mistakes_name_the_option(self) -> None:
        for name in {*WRITTEN, *FLAGS}:
            wrongs: list[Any] = [{"a": 1}, ["a", ["b"]], [{}]]
            if name in SIZES or name in TIMES:
                wrongs += ["", "many", -1, True, float("inf"), float("nan")]
            if name in FLAGS:
                wrongs += ["yes", 1, 0, ""]
            else:
                wrongs += [True, False, ""]
            if OPTION[name].read is text:
                wrongs += [1, 1.5]
            for wrong in wrongs:
                error = self.assertRaises(BadOption, settings, {name: wrong})
                self.assertTrue(str(error).startswith(f"{name}: "), str(error))
                self.assertNotIn("\n", str(error))
                if isinstance(wrong, bool):
                    self.assertIn("of the wrong kind", str(error))

    def test_mistakes_say_what_is_right(self) -> None:
        for name, wrong, says in [
            ("max-app-data", "64 kilobytes", "64KiB"),
            ("ping-interval", "5 minutes", "5m"),
            ("max-events", "5,000", "whole number"),
            ("compression", "20", "1 to 19"),
            ("trusted-proxy", "proxy.example.org", "10.0.0.0/8"),
            ("listen", [], "at least one"),
            ("data-dir", "~nobody-has-this-name/x", "no such user"),
            ("demo", "yes", "true or false"),
        ]:
            error = self.assertRaises(BadOption, settings, {name: wrong})
            self.assertIn(says, str(error))


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.enterContext(TemporaryDirectory())) / "logui.toml"

    def file(self, content: str) -> Path:
        self.path.write_text(content, encoding="utf-8")
        return self.path

    def test_every_option(self) -> None:
        lines = [f'{name} = "{written}"' for name, (written, _) in WRITTEN.items()]
        read = settings({}, self.file("\n".join([*lines, "demo = true"])))
        for name, (_, expected) in WRITTEN.items():
            self.assertEqual(found(read, name), expected, name)
        self.assertIs(read.demo, True)

    def test_what_toml_has_for_numbers_and_arrays(self) -> None:
        content = "max-events = 7\nping-interval = 1.5\nmax-app-data = 65_536\nlisten = ['tcp:1', 'tcp:2']\n"
        read = settings({}, self.file(content + "trusted-proxy = '::1'\ndemo = false"))
        self.assertEqual((read.limits.max_events, read.limits.ping_interval), (7, 1.5))
        self.assertEqual((read.limits.max_app_data, read.listen), (65_536, ("tcp:1", "tcp:2")))
        self.assertEqual((len(read.trusted_proxy), read.demo), (1, False))

    def test_the_command_line_wins_over_the_file_over_the_default(self) -> None:
        path = self.file('max-events = 7\nmax-instances = 8\nlisten = ["tcp:1", "tcp:2"]\ndemo = false')
        options = Options()
        options.parseOptions(["--config", str(path), "--max-events", "9", "--listen", "tcp:3", "--demo"])
        read = options.settings
        self.assertEqual((read.limits.max_events, read.limits.max_instances), (9, 8))
        self.assertEqual((read.listen, read.demo), (("tcp:3",), True))
        self.assertEqual(read.limits.max_connections, 0)

    def test_unknown_keys(self) -> None:
        for key, meant in [
            ("max-event", "max-events"),
            ("max_events", "max-events"),
            ("sesion-store", "session-store"),
            ("datadir", "data-dir"),
        ]:
            error = self.assertRaises(BadOption, settings, {}, self.file(f"{key} = 1"))
            for part in (repr(key), f"did you mean {meant!r}?", str(self.path)):
                self.assertIn(part, str(error))
        for content in ["colour = 'blue'", "config = 'x'", "[limits]\nmax-events = 1"]:
            error = self.assertRaises(BadOption, settings, {}, self.file(content))
            self.assertIn("unknown key", str(error))
        self.assertNotIn(
            "did you mean", str(self.assertRaises(BadOption, read_file, self.file("colour = 1")))
        )

    def test_an_unknown_key_counts_though_the_command_line_is_right(self) -> None:
        self.assertRaises(BadOption, settings, {"max-events": "7"}, self.file("max-event = 1"))

    def test_wrong_values(self) -> None:
        for line, says in [
            ("max-events = true", "max-events"),
            ("max-events = 1979-05-27", "max-events"),
            ("max-events = {a = 1}", "max-events"),
            ("max-events = [1]", "max-events"),
            ("demo = 'yes'", "demo"),
            ("data-dir = ['a']", "data-dir"),
            ("listen = [['tcp:1']]", "listen"),
        ]:
            error = self.assertRaises(BadOption, settings, {}, self.file(line))
            self.assertTrue(str(error).startswith(f"{says}: "), str(error))

    def test_files_that_cannot_be_read(self) -> None:
        for path in [self.path.with_name("absent"), self.path.parent]:
            self.assertIn(str(path), str(self.assertRaises(BadOption, settings, {}, path)))
        for content in [b"max-events = ", b"= 1", b"max-events = 1\nmax-events = 2", b"\xff\xfe"]:
            self.path.write_bytes(content)
            error = self.assertRaises(BadOption, settings, {}, self.path)
            self.assertIn(str(self.path), str(error))
            self.assertIn("TOML", str(error))


class CommandLineTests(SynchronousTestCase):
    def refused(self, *words: str) -> str:
        error = self.assertRaises(SystemExit, Options().parseOptions, list(words))
        self.assertTrue(str(error.code).startswith("twistd logui: "), error.code)
        self.assertNotIn("\n", str(error.code))
        return str(error.code)

    def test_one_line_for_mistakes(self) -> None:
        self.assertIn("max-event", self.refused("--max-eventful", "7"))
        self.assertIn("max-app-data", self.refused("--max-app-data", "much"))
        self.assertIn("argument", self.refused("--max-events"))
        self.assertIn("'run'", self.refused("run"))
        self.assertIn("absent.toml", self.refused("--config", "absent.toml"))

    def test_nothing_is_shared_between_two_command_lines(self) -> None:
        first, second = Options(), Options()
        first.parseOptions(["--listen", "tcp:1"])
        second.parseOptions(["--listen", "tcp:2"])
        self.assertEqual((first.settings.listen, second.settings.listen), (("tcp:1",), ("tcp:2",)))


class LeastTests(SynchronousTestCase):
    def test_a_limit_that_would_refuse_everything_is_refused(self) -> None:
        for name in (
            "max-message-size",
            "max-events",
            "max-app-data",
            "max-unacknowledged",
            "handshake-timeout",
        ):
            with self.assertRaises(BadOption) as refused:
                settings({name: "0"})
            self.assertIn(f"{name}: '0' does not do: at least", str(refused.exception))

    def test_zero_where_it_means_none_or_any(self) -> None:
        for name in ("ping-interval", "max-connections", "max-connections-per-address", "commit-delay"):
            settings({name: "0"})
