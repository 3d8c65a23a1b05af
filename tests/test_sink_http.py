"""What ``http:`` makes of its URI and of batches, its signature, and ``Retry-After``."""

import gzip
import hashlib
import hmac
import json
import re
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase, TestCase

from logui_tx.delivery.find import sink_makers
from logui_tx.delivery.halving import halves
from logui_tx.errors import BadOption
from logui_tx.sinks.http import HTTPSink, key, sign
from logui_tx.sinks.posting import Answer, retry_after
from logui_tx.sinks.uri import read_uri
from logui_tx.testing import make_batch, make_session
from logui_tx.testing.sink_contract import made

NOW = 1_795_348_800.0  # Sun, 22 Nov 2026 12:00:00 GMT
SINKS = Path(__file__).parent.parent / "docs" / "sinks.md"


def make(uri: str) -> HTTPSink:
    maker, read, _ = read_uri(uri, sink_makers())
    found = maker.make(read, reactor)
    assert isinstance(found, HTTPSink)
    return found


class FakePoster:
    """``posted`` are URL, headers and body."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, dict[str, str], bytes]] = []

    def post(self, url: str, headers: dict[str, str], body: bytes) -> Deferred[Answer]:
        self.posted.append((url, headers, body))
        return succeed(Answer(204, b"", 0))

    def close(self) -> Deferred[None]:
        return succeed(None)


class URITests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))

    def file(self, text: str) -> Path:
        path = self.folder / "secret"
        path.write_text(text)
        return path

    def test_what_would_be_right(self) -> None:
        short, wide = self.file("short"), self.folder / "wide"
        wide.write_text("two words are no secret")
        for uri, why in {
            "http:": "one host is expected: http://collector.example.org/path would be one",
            "https:///path": "one host is expected: https://collector.example.org/path would be one",
            "https://a,b/": "one host is expected",
            "https://a b/": "one host is expected",
            "https://a:0/": "a port is a number from 1 to 65535",
            "https://a:70000/": "a port is a number from 1 to 65535",
            "https://a:x/": "one host is expected",
            "https://[::1]:81/x": "an IPv6 address cannot be written here; give it a name",
            "https://u:hunter2@a/?format=xml": "format: one of ndjson, json is expected",
            "https://u:hunter2@a/?temporary=500": "temporary: statuses from 400 to 499 are expected",
            "https://u:hunter2@a/?secret-file=/nowhere": "secret-file: No such file or directory: /nowhere",
            f"https://a/?secret-file={short}": "secret-file: one line of at least 16 characters is expected",
            f"https://a/?secret-file={wide}": "secret-file: one line of at least 16 characters is expected",
            f"https://u:hunter2@a/?token-file={short}": "either a user or token-file",
            f"https://a/?ca={short}": "ca: a file of certificates (PEM) is expected",
            "https://a/?ca=/nowhere": "ca: a file of certificates (PEM) is expected",
            "https://a/?timeout=0": "timeout: at least 0.1 is expected",
            "https://a/?secret=hunter2": "did you mean",
        }.items():
            with self.subTest(uri), self.assertRaises(BadOption) as caught:
                make(uri)
            self.assertIn(why, str(caught.exception))
            self.assertNotIn("hunter2", str(caught.exception))

    def test_where_it_posts(self) -> None:
        for uri, url in {
            "http://a": "http://a/",
            "HTTPS://a:8443/x%20y/%C3%BC?query=a%3D1%26b%3D%2520": "https://a:8443/x%20y/%C3%BC?a=1&b=%20",
            "https://user:hunter2@b%C3%BCcher.example/": None,
            "https://bücher.example/": "https://xn--bcher-kva.example/",
        }.items():
            with self.subTest(uri):
                if url is None:
                    self.assertRaises(BadOption, make, uri)
                else:
                    self.assertEqual(make(uri)._url, url)

    def test_who_asks(self) -> None:
        token = self.file("a-token\n")
        self.assertNotIn("Authorization", make("http://a")._headers)
        self.assertEqual(make(f"http://a/?token-file={token}")._headers["Authorization"], "Bearer a-token")
        self.assertEqual(make("http://u:p%3A@a")._headers["Authorization"], "Basic dTpwOg==")


class WritingTestCase(TestCase):
    async def written(self, uri: str, batch: Any) -> FakePoster:
        """What was posted of a batch."""
        sink = make(uri)
        poster = FakePoster()
        await sink._poster.close()
        sink._poster = poster  # type: ignore[assignment]
        await sink.open(b"")
        self.addCleanup(sink.close)
        self.assertEqual(await sink.prepare(batch), b"")
        self.assertEqual(await sink.write(batch), b"")
        return poster


class BatchTests(WritingTestCase):
    async def test_lines(self) -> None:
        poster = await self.written("http://a", make_batch(made([1, 2]), [make_session()]))
        (_, sessions, told), (url, headers, body) = poster.posted
        self.assertEqual(url, "http://a/")
        self.assertEqual([json.loads(line)["seq"] for line in body.splitlines()], [1, 2])
        self.assertTrue(body.endswith(b"\n"))
        self.assertEqual(json.loads(told)["id"], "s1")
        self.assertEqual([sessions["Logui-Content"], headers["Logui-Content"]], ["sessions", "records"])
        self.assertEqual(headers["Content-Type"], "application/x-ndjson")
        self.assertNotIn("Content-Encoding", headers)

    async def test_an_array_packed(self) -> None:
        poster = await self.written(
            "http://a?format=json&compress=gzip&sessions=no", make_batch(made([1, 2]), [make_session()])
        )
        ((_, headers, body),) = poster.posted
        self.assertEqual([one["seq"] for one in json.loads(gzip.decompress(body))], [1, 2])
        self.assertEqual((headers["Content-Type"], headers["Content-Encoding"]), ("application/json", "gzip"))

    async def test_the_same_is_the_same(self) -> None:
        batch = make_batch(made([1, 2]), [make_session()])
        first, second = [(await self.written("http://a?compress=gzip", batch)).posted for _ in range(2)]
        self.assertEqual(first, second)

    async def test_nothing_to_send(self) -> None:
        batch = evolve(make_batch(made([1]), [make_session()]), records=())
        self.assertEqual((await self.written("http://a?sessions=no", batch)).posted, [])

    def test_keys(self) -> None:
        """Between the same bounds are the same records, also where a half has come again with sessions."""
        batch = make_batch(made(range(1, 9)), [make_session()])
        self.assertEqual(key(batch), key(evolve(batch, sessions=())))
        first, second = halves(batch)
        self.assertEqual(len({key(batch), key(first), key(second)}), 3)
        self.assertNotRegex(key(evolve(batch, journal_id="a\r\nb: c")), r"[\s:]")


class SignatureTests(WritingTestCase):
    """The receiver's half is taken from the documentation."""

    def setUp(self) -> None:
        (self.text,) = re.findall(r"```python\n(import hashlib\n.*?)```", SINKS.read_text("utf-8"), re.DOTALL)
        found: dict[str, Any] = {}
        exec(self.text, found)
        self.verify = found["verify"]
        self.secret = b"0123456789abcdef"

    def test_verify(self) -> None:
        now = int(time.time())
        body = b'{"a":1}\n'
        signature = sign(self.secret, now, body)
        self.assertTrue(self.verify(self.secret, signature, body))
        self.assertFalse(self.verify(self.secret, signature, body + b" "))
        self.assertFalse(self.verify(b"another secret--", signature, body))
        self.assertFalse(self.verify(self.secret, signature.replace(f"t={now}", f"t={now - 1}"), body))
        self.assertFalse(self.verify(self.secret, sign(self.secret, now - 301, body), body))
        self.assertFalse(self.verify(self.secret, sign(self.secret, now + 301, body), body))

    @given(st.text())
    def test_nonsense(self, signature: str) -> None:
        self.assertFalse(self.verify(self.secret, signature, b""))

    async def test_what_is_sent(self) -> None:
        path = Path(self.enterContext(TemporaryDirectory())) / "secret"
        path.write_bytes(self.secret + b"\n")
        poster = await self.written(f"http://a?secret-file={path}&compress=gzip", make_batch(made([1])))
        ((_, headers, body),) = poster.posted
        self.assertTrue(self.verify(self.secret, headers["Logui-Signature"], body))
        signature = headers["Logui-Signature"]
        expected = hmac.new(self.secret, signature[2:12].encode() + b"." + body, hashlib.sha256)
        self.assertTrue(signature.endswith(f",v1={expected.hexdigest()}"))


class RetryAfterTests(SynchronousTestCase):
    def test_seconds_and_dates(self) -> None:
        for told, seconds in {
            "": 0,
            "0": 0,
            " 120 ": 120,
            "99999999999": 3600,
            "9" * 400: 0,
            "-5": 0,
            "1.5": 0,
            "٣": 0,
            "soon": 0,
            "Sun, 22 Nov 2026 12:00:30 GMT": 30,
            "Sunday, 22-Nov-26 12:00:30 GMT": 30,
            "Sun Nov 22 12:00:30 2026": 30,
            "Sun, 22 Nov 2026 11:59:00 GMT": 0,
            "Sun, 22 Nov 2036 12:00:00 GMT": 3600,
            "Sun, 99 Nov 2026 12:00:00 GMT": 0,
        }.items():
            with self.subTest(told):
                self.assertEqual(retry_after(told, NOW), seconds)

    @given(st.text())
    def test_anything(self, told: str) -> None:
        self.assertTrue(0 <= retry_after(told, NOW) <= 3600)
