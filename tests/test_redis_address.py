"""Where a Redis is, read from a URI; and that no error tells what the URI holds."""

from tempfile import TemporaryDirectory

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from logui_tx.errors import BadOption
from logui_tx.redis.address import SCHEMES, RedisAddress, read_address

SECRET = "s3cret"


class ReadAddressTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        for uri in ("redis://host", "redis://host/", "redis://host:6379/0", "redis://@host"):
            self.assertEqual(read_address(uri), RedisAddress(host="host"))
        address = RedisAddress(host="host")
        self.assertEqual((address.port, address.database, address.tls), (6379, 0, False))
        self.assertEqual((address.prefix, address.timeout), ("logui", 1.0))
        self.assertEqual((address.user, address.password, address.ca), (None, None, None))

    def test_all_of_it(self) -> None:
        self.assertEqual(
            read_address("redis://me:pass@redis.example.org:7000/15?prefix=study&timeout=250ms"),
            RedisAddress(
                host="redis.example.org",
                port=7000,
                user="me",
                password="pass",
                database=15,
                prefix="study",
                timeout=0.25,
            ),
        )

    def test_credentials(self) -> None:
        for written, user, password in (
            ("me:pass@", "me", "pass"),
            (":pass@", None, "pass"),
            ("me:@", "me", None),
            (":@", None, None),
            (":p:q@", None, "p:q"),
            ("m%65:p%40%2F%3A%3F%23%25s@", "me", "p@/:?#%s"),
            (":%C3%BC@", None, "\u00fc"),
            (":\u00fc@", None, "\u00fc"),
            (":a+b@", None, "a+b"),
        ):
            address = read_address(f"redis://{written}host")
            self.assertEqual((address.user, address.password, address.host), (user, password, "host"))

    def test_hosts(self) -> None:
        for written, host, port in (
            ("127.0.0.1:7", "127.0.0.1", 7),
            ("[::1]", "::1", 6379),
            ("[fe80::1]:7000", "fe80::1", 7000),
            ("redis-1.local:65535", "redis-1.local", 65535),
        ):
            address = read_address(f"redis://{written}/1")
            self.assertEqual((address.host, address.port, address.database), (host, port, 1))

    def test_tls(self) -> None:
        self.assertEqual(
            read_address("rediss://:pass@host/3?ca=%2Fetc%2Fca.pem&cert=/etc/own.pem&key=/etc/own.key"),
            RedisAddress(
                host="host",
                password="pass",
                database=3,
                tls=True,
                ca="/etc/ca.pem",
                cert="/etc/own.pem",
                key="/etc/own.key",
            ),
        )
        self.assertEqual(read_address("rediss://host"), RedisAddress(host="host", tls=True))

    def test_a_socket(self) -> None:
        for uri in ("redis+unix:///run/redis.sock", "redis+unix:/run/redis.sock"):
            self.assertEqual(read_address(uri), RedisAddress(path="/run/redis.sock"))
        self.assertEqual(
            read_address("redis+unix://me:p%40ss@/run/a%20b.sock?database=2&prefix=x&timeout=2"),
            RedisAddress(
                path="/run/a b.sock", user="me", password="p@ss", database=2, prefix="x", timeout=2.0
            ),
        )

    def test_the_repr_has_no_password(self) -> None:
        self.assertNotIn(SECRET, repr(read_address(f"redis://u:{SECRET}@host")))

    def test_endpoints(self) -> None:
        self.assertIsInstance(
            read_address("redis://[::1]:7").endpoint(MemoryReactorClock()), HostnameEndpoint
        )
        self.assertIsInstance(
            read_address("redis+unix:/run/r").endpoint(MemoryReactorClock()), UNIXClientEndpoint
        )
        self.assertNotIsInstance(
            read_address("rediss://host").endpoint(MemoryReactorClock()), HostnameEndpoint
        )

    def test_certificates_that_cannot_be_used(self) -> None:
        with TemporaryDirectory() as folder, open(f"{folder}/bad.pem", "w") as bad:
            bad.write("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
            bad.flush()
            for parameters, why in (
                (f"ca={folder}/none.pem", f"a certificate cannot be read: {folder}/none.pem: No such file"),
                (f"cert={folder}/none.pem", f"a certificate cannot be read: {folder}/none.pem: No such file"),
                (f"ca={bad.name}", "a certificate or key is not valid PEM"),
                (f"cert={bad.name}", "a certificate or key is not valid PEM"),
            ):
                address = read_address(f"rediss://:{SECRET}@host?{parameters}")
                with self.assertRaises(BadOption) as raised:
                    address.endpoint(MemoryReactorClock())
                self.assertIn(why, str(raised.exception))
                self.assertNotIn(SECRET, everything_told(raised.exception))


def everything_told(error: BaseException) -> str:
    """What a log could show of it, and of the errors that led to it."""
    told = []
    seen: BaseException | None = error
    while seen is not None:
        told += [str(seen), repr(seen), repr(seen.__dict__)]
        seen = seen.__context__ or seen.__cause__
    return "\n".join(told)


class BadAddressTests(SynchronousTestCase):
    def assert_bad(self, uri: str, why: str) -> None:
        with self.assertRaises(BadOption) as raised:
            read_address(uri)
        told = everything_told(raised.exception)
        self.assertTrue(str(raised.exception).startswith("session-store: "), told)
        self.assertIn(why, str(raised.exception))
        self.assertNotIn(SECRET, told)
        if SECRET in uri:
            self.assertNotIn(uri, told)

    def test_what_is_no_uri(self) -> None:
        for uri in (
            "",
            "host",
            "REDIS://host",
            f"http://u:{SECRET}@host",
            f"postgresql://u:{SECRET}@host",
            f"redis://u:{SECRET}@[::1",
            f"redis://u:{SECRET}@host:port",
            # A slash, ? or # in a password ends the authority.
            f"redis://u:{SECRET}/x@host",
            f"redis://u:x/{SECRET}@host",
            f"redis://u:x?{SECRET}@host",
            f"redis://u:{SECRET}#x@host",
            f"redis://u:{SECRET}@host\udc80",
        ):
            self.assert_bad(uri, "the URI cannot be read")

    def test_what_would_be_read_as_something_else(self) -> None:
        self.assert_bad(f"redis://u:12#{SECRET}@host", "%23")
        self.assert_bad(f"redis://u:12?{SECRET}@host", "unknown parameter")
        self.assert_bad(f"redis://u:12/{SECRET}@host", "the database is a number")

    def test_hosts(self) -> None:
        for uri in (f"redis://u:{SECRET}@", "redis:", "redis:///0", f"rediss://:{SECRET}@/1", "redis:host"):
            self.assert_bad(uri, "a host is expected")
        for port in (0, 65536, 99999999):
            self.assert_bad(f"redis://:{SECRET}@host:{port}/0", "the port is a number")

    def test_what_is_no_host(self) -> None:
        for host in ("h,h2", "a..b", ".", "h%25", "a%20b", "h%5C", "h%00", "a" * 64, "a." * 130 + "b"):
            self.assert_bad(f"redis://:{SECRET}@{host}/0", "a host is expected")
        for host in ("xn--", "a_b"):
            # Where TLS compares names, they must be names.
            with self.assertRaisesRegex(BadOption, "^session-store: a host is expected"):
                read_address(f"rediss://:{SECRET}@{host}/0").endpoint(MemoryReactorClock())
            read_address(f"redis://:{SECRET}@{host}/0").endpoint(MemoryReactorClock())
        for host in ("r\u00fcdis.example.org", "host.", "[::1]"):
            read_address(f"rediss://{host}/0").endpoint(MemoryReactorClock())

    def test_a_user_alone(self) -> None:
        self.assert_bad(f"redis://{SECRET}@host", "a user without a password")

    def test_databases(self) -> None:
        for path in ("x", "-1", "1.5", "\u0661", "%31x", "1" * 10, SECRET, "%zz"):
            self.assert_bad(f"redis://:{SECRET}@host/{path}", "the database is a number")
        self.assert_bad(f"redis://:{SECRET}@host/1/2", "the path is the number of a database")
        self.assert_bad("redis+unix:/run/r?database=x", "the database is a number")

    def test_sockets(self) -> None:
        for uri in (
            "redis+unix:",
            "redis+unix:///",
            f"redis+unix://:{SECRET}@host/run/r",
            "redis+unix://host",
        ):
            self.assert_bad(uri, "needs the path of a socket and no host")

    def test_parameters(self) -> None:
        for uri in (
            f"redis://host?{SECRET}=1",
            "redis://host?ca=/etc/ca.pem",
            "redis://host?database=1",
            "rediss://host?database=1",
            "redis+unix:/run/r?key=x",
        ):
            self.assert_bad(uri, "unknown parameter; known are ")
        for uri in ("redis://host?prefix", "redis://host?prefix=", "rediss://host?ca="):
            self.assert_bad(uri, "needs a value")
        for time in ("0", "0s", "-1", "x", "1y", "9" * 400, SECRET):
            self.assert_bad(f"redis://:{SECRET}@host?timeout={time}", "timeout: a time is expected")

    @given(
        st.one_of(
            st.text(st.characters(), max_size=60),
            st.builds(
                "{}{}{}".format,
                st.sampled_from(
                    [f"{scheme}{after}" for scheme in SCHEMES for after in (":", "://", "://u:p@")]
                ),
                st.text(st.sampled_from("ab01:/?#[]@%=&. \u00fc\u2100\udc80"), max_size=30),
                st.sampled_from(["", "?timeout=1", "?prefix=%ff", "/0"]),
            ),
        )
    )
    @example("redis://[v1.a]")
    @example("redis://\u2100")
    @example("redis://h?prefix=%ff")
    def test_any_text(self, uri: str) -> None:
        try:
            address = read_address(uri)
        except BadOption as error:
            self.assertIsNone(error.__context__)
            return
        self.assertTrue(address.host or address.path)
        self.assertTrue(0 < address.port < 65536 and address.timeout > 0)
        address.prefix.encode()

    @given(
        st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8"), min_size=1)
    )
    def test_any_user_and_password_percent_encoded(self, user: str, password: str) -> None:
        written = ["".join(f"%{byte:02X}" for byte in text.encode()) for text in (user, password)]
        address = read_address(f"redis://{written[0]}:{written[1]}@host/1")
        self.assertEqual((address.user, address.password, address.database), (user, password, 1))
