"""A real nginx of a test's own, in front of servers, on a free port."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.integration.redis import PATIENCE, free_port

_AROUND = """
daemon off;
master_process off;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
{inside}
}}
"""


class Nginx:
    """Started when made, with ``configuration`` inside of ``http``, in which ``changes`` were made; each
    must change something. ``PORT`` in what they put there is ``port``. :meth:`close` ends it."""

    def __init__(self, configuration: str, changes: dict[str, str]) -> None:
        self._folder = TemporaryDirectory()
        folder = Path(self._folder.name)
        self.port = free_port()
        for old, new in changes.items():
            if old not in configuration:
                raise AssertionError(f"the configuration does not have {old!r}")
            configuration = configuration.replace(old, new.replace("PORT", str(self.port)))
        (folder / "nginx.conf").write_text(_AROUND.format(inside=configuration), encoding="utf-8")
        command = ["nginx", "-p", str(folder), "-e", "error.log", "-c", "nginx.conf"]
        # Says what is wrong with the configuration; the ports are bound, and let go of again.
        checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
        if checked.returncode or "[warn]" in checked.stderr:
            raise AssertionError(checked.stderr)
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise AssertionError("nginx does not start")

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except ConnectionRefusedError:
            return False
        return True

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._folder.cleanup()
