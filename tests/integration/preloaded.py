"""What a server imports and makes at its start, whatever its options: done once for all forks.

Imported by the fork server alone (:mod:`tests.integration.forks`).
"""

import gc
from importlib import import_module

from logui_tx.web.device import device_of

for _name in (
    "logui_tx.plugins.logui_sinks",
    "logui_tx.plugins.logui_steps",
    "logui_tx.tap",
    "twisted.internet.default",
    "twisted.plugins",
    "twisted.scripts.twistd",
    # What opens the registry, and makes its tables.
    "alembic.command",
    "alembic.runtime.environment",
    "mako.template",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
):
    import_module(_name)

# Its first call takes a quarter of a second, to prepare.
device_of("")
# No fork's garbage collection looks at all this again.
gc.freeze()
