"""Applications and flights in SQLite."""

from sqlalchemy import Engine

from logui_tx.registry.database import open_engine
from tests import registries


class SQLite(registries.RegistryMixin):
    def open_engine(self) -> Engine:
        return open_engine(None, self.folder)


class ApplicationTests(SQLite, registries.ApplicationMixin):
    pass


class FlightTests(SQLite, registries.FlightMixin):
    pass


class DemoTests(SQLite, registries.DemoMixin):
    pass


class BrokenDatabaseTests(SQLite, registries.BrokenDatabaseMixin):
    pass


class ConcurrencyTests(SQLite, registries.ConcurrencyMixin):
    pass


del SQLite  # it is no test
