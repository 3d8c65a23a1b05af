import json
import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue

from tests import fake_server
from tests.test_replay import DATA, ROOT, TOKEN, ReplayTestCase

COMMAND = ROOT / "bin" / "replay"


class CommandTests(ReplayTestCase):
    def folder(self) -> Path:
        made = TemporaryDirectory()
        self.addCleanup(made.cleanup)
        return Path(made.name)

    def run_it(self, *arguments: object, cwd: Path = Path("/")) -> Deferred[tuple[str, str, int]]:
        running = getProcessOutputAndValue(
            str(COMMAND), [str(argument) for argument in arguments], env=os.environ, path=str(cwd)
        )
        return running.addCallback(lambda result: (result[0].decode(), result[1].decode(), result[2]))

    async def refused(self, words: str, *arguments: object) -> None:
        out, error, status = await self.run_it(*arguments)
        self.assertEqual(out, "")
        self.assertNotEqual(status, 0)
        self.assertEqual(error.count("\n"), 1, error)
        self.assertTrue(error.startswith("bin/replay: "), error)
        self.assertIn(words, error)

    async def test_account(self) -> None:
        self.serve()
        out, error, status = await self.run_it(
            *DATA[:2], "--url", self.server.url, "--token", TOKEN, "--sessions", 2, "--batch", 50, "--json"
        )
        self.assertEqual((status, error), (0, ""))
        account = json.loads(out)
        self.assertEqual(account["sent"], account["acknowledged"])
        self.assertEqual(account["sent"], sum(len(self.server.events(name)) for name in self.server.stored))
        self.assertEqual(len(account["sessions"]), 4)
        self.assertEqual(self.server.handshakes[0]["domain"], "localhost")
        self.assertEqual(self.server.handshakes[0]["appIdentifier"], TOKEN)
        self.assertEqual(len(self.server.payloads[0]["eventsToBeLogged"]), 50)

    async def test_account_for_people(self) -> None:
        self.serve({3: fake_server.refuse})
        out, _, status = await self.run_it(DATA[0], "--url", self.server.url, "--token", TOKEN)
        self.assertEqual(status, 1)
        for word in ("sent", "acknowledged", "refused", "resent", "p50", "p99", "events/s"):
            self.assertIn(word, out)

    async def test_bad_input(self) -> None:
        malformed = self.folder() / "made"
        malformed.write_text("record timestamp,client timestamp,button,state,x,y\n0,0,Left,Pressed,1\n")
        token = ("--token", TOKEN)
        await self.refused(f"{malformed}:2: ", malformed, *token)
        await self.refused("No such file", "/no/such.csv", *token)
        await self.refused("Is a directory", "/", *token)
        await self.refused("--token or --data-dir", DATA[0])
        await self.refused("'http://localhost/'", DATA[0], *token, "--url", "http://localhost/")
        await self.refused("'fast'", DATA[0], *token, "--speed", "fast")
        await self.refused("'0'", DATA[0], *token, "--speed", "0")
        await self.refused("--batch", DATA[0], *token, "--batch", "0")
        await self.refused("FILES", *token)
        await self.refused("--colour", DATA[0], *token, "--colour")
        await self.refused("not the data folder", DATA[0], "--data-dir", "/no/such/folder")

    async def test_nobody_listens(self) -> None:
        self.serve()
        url = self.server.url
        await self.server.stop()
        out, error, status = await self.run_it(DATA[0], "--url", url, "--token", TOKEN)
        self.assertEqual(status, 1)
        self.assertIn("refused", error)
        self.assertNotIn("Traceback", out + error)

    async def test_interrupt_gives_the_account(self) -> None:
        """Ctrl-C ends the sessions where they are."""
        process: list[subprocess.Popen] = []
        self.serve({3: lambda conversation, message: process[0].send_signal(2)})
        arguments = [str(COMMAND), str(DATA[0]), "--url", self.server.url, "--token", TOKEN, "--json"]
        ended: Deferred[tuple[bytes, bytes]] = Deferred()
        process.append(subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        reactor.callInThread(lambda: reactor.callFromThread(ended.callback, process[0].communicate()))
        out, error = await ended
        account = json.loads(out)
        self.assertEqual((process[0].returncode, error), (1, b""))
        self.assertEqual(account["sessions"][0]["error"], "stopped")
        self.assertGreaterEqual(account["acknowledged"], 0)

    def test_without_the_environment(self) -> None:
        folder = self.folder() / "made"
        (folder / "bin").mkdir(parents=True)
        script = folder / "bin" / "replay"
        script.write_bytes(COMMAND.read_bytes())
        script.chmod(0o755)
        result = subprocess.run([script, "a.csv"], capture_output=True, text=True, check=False)
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertIn("bin/serve", result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1)

    async def test_token_from_a_data_folder(self) -> None:
        from logui_tx.registry.database import migrate, open_engine
        from logui_tx.registry.registry import Registry
        from logui_tx.registry.tokens import SigningKeys, TokenSigner

        folder = self.folder() / "made"
        folder.mkdir()
        engine = open_engine(None, folder)
        migrate(engine)
        signer = TokenSigner(SigningKeys(folder))
        registry = Registry(engine, signer)
        demo = registry.ensure_demo()
        other = registry.create_flight("Demo", "Other", ["*"])
        registry.token(demo)
        engine.dispose()

        self.serve()
        for arguments, flight in (
            ((), demo),
            (("--flight", "Other"), other),
            (("--flight", other.id), other),
        ):
            self.server.handshakes.clear()
            _, error, status = await self.run_it(
                DATA[-1], "--url", self.server.url, "--data-dir", folder, *arguments
            )
            self.assertEqual((status, error), (0, ""))
            claims = signer.read(self.server.handshakes[0]["appIdentifier"])
            self.assertEqual(claims.flight_id, flight.id)
        await self.refused("'Nope'", DATA[0], "--data-dir", folder, "--flight", "Nope")
