"""The languages that clients speak: bytes and meaning, pure, one module each."""

from logui_tx.dialects.kraken import Kraken
from logui_tx.dialects.logui04 import LogUI04
from logui_tx.dialects.logui05 import LogUI05
from logui_tx.interfaces import IDialect

BY_NAME: dict[str, IDialect] = {dialect.name: dialect for dialect in (LogUI04(), LogUI05(), Kraken())}
"""Every dialect by the name that its sessions bear; for reading what was stored."""
