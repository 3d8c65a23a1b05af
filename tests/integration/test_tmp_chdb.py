import subprocess, time
from urllib.error import HTTPError
from pathlib import Path
from tests.integration import clickhouse as c
from tests.integration.test_sink_clickhouse import ClickHouseChaosTests as Base
def start(self):
    self._process = subprocess.Popen(["/tmp/w/chv/bin/python","/tmp/w/kx/chdb_http.py",str(self.port),str(Path(self._folder.name)/"data")],stderr=open("/tmp/w/kx/chaos.log","ab"))
    while True:
        try: self.ask("DESCRIBE TABLE `default`.`none` FORMAT TabSeparated")
        except HTTPError: return
        except OSError: time.sleep(.1)
c.ClickHouse.start=start
class ChdbTests(Base):
    seed=int(__import__("os").environ.get("SEED","5"))
del Base
