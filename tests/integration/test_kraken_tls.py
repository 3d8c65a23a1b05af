"""DataKraken over https, with a certificate of its own."""

from __future__ import annotations

import http.client
import json
import ssl
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet import reactor
from twisted.internet import ssl as twisted_ssl
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from logui_tx.web.client import connect
from tests.integration.served import Client
from tests.integration.visitors import START, Answer, VisitedTestCase, move


def make_certificate(path: Path) -> None:
    """A key and a certificate for localhost, signed by itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form, secret = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(pem, form, secret) + certificate.public_bytes(pem))


def trust(case: TestCase, path: Path) -> None:
    """Our client believes what has this certificate to be localhost, whatever the host of its URL."""
    trusted = twisted_ssl.trustRootFromCertificates([twisted_ssl.Certificate.loadPEM(path.read_bytes())])
    options = twisted_ssl.optionsForClientTLS
    case.patch(twisted_ssl, "optionsForClientTLS", lambda _host: options("localhost", trustRoot=trusted))


class HTTPSTests(VisitedTestCase):
    domains = ("*",)

    async def setUp(self) -> None:
        super().setUp()
        await self.stop()
        path = self.data_dir / "localhost.pem"
        make_certificate(path)
        self.start(listen=(f"ssl:0:interface=127.0.0.1:privateKey={path}",))
        self.trusting = ssl.create_default_context(cafile=str(path))
        trust(self, path)

    async def ask(self, origin: str) -> Answer:
        def ask() -> Answer:
            made = http.client.HTTPSConnection("localhost", self.port, timeout=30, context=self.trusting)
            with closing(made) as connection:
                body = json.dumps({"token": self.token})
                connection.request("POST", "/kraken/init", body, {"Origin": origin, "Connection": "close"})
                answer = connection.getresponse()
                return Answer(answer.status, answer.headers, answer.read())

        return await deferToThread(ask)

    async def test_a_visit(self) -> None:
        for origin, attributes in (
            ("https://localhost:3000", "SameSite=Lax; Secure"),
            ("http://localhost:3000", "SameSite=None; Secure; Partitioned"),
            ("https://shop.example", "SameSite=None; Secure; Partitioned"),
        ):
            answer = await self.ask(origin)
            self.assertTrue(answer.headers["Set-Cookie"].endswith(f"HttpOnly; {attributes}"))
            told = answer.json
            self.assertEqual(told["endpoint"], f"wss://localhost:{self.port}/kraken/socket")
            url = f"wss://127.0.0.1:{self.port}/kraken/socket?ticket={told['ticket']}"
            socket = await connect(reactor, url, origin=origin, headers={"Cookie": answer.cookie})
            self.addCleanup(lambda socket=socket: (socket.abort(), socket.closed)[1])
            visitor = Client(socket)
            visitor.say(START)
            self.assertEqual(await visitor.ask(move(1)), {"type": "ack", "stored": 1})
            visitor.say({"type": "close"})
            self.assertEqual((await visitor.end()).code, 1000)
