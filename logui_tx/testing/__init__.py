"""Shipped for authors of stores and dialects: what to test against.

A store is held to its promises by a test case that inherits them::

    class MyStoreTests(SessionStoreContract, TestCase):
        def make_store(self, clock):
            return MyStore(clock)
"""

from logui_tx.testing.fake_peer import FakePeer
from logui_tx.testing.fake_stores import FakeSessionStore, FakeStores
from logui_tx.testing.store_contract import SessionStoreContract, SharedSessionStoreContract

__all__ = ["FakePeer", "FakeSessionStore", "FakeStores", "SessionStoreContract", "SharedSessionStoreContract"]
