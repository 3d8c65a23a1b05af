"""Shipped for authors of sinks, stores and dialects: what to test against.

A sink or a store is held to its promises by a test case that inherits them::

    class MySinkTests(SinkContract, TestCase):
        def make_sink(self):
            return MySink(...)
"""

from logui_tx.testing.fake_peer import FakePeer
from logui_tx.testing.fake_sink import FakePlace, FakeSink
from logui_tx.testing.fake_stores import FakeSessionStore, FakeStores
from logui_tx.testing.sink_contract import SinkContract, make_batch, make_record, make_session
from logui_tx.testing.store_contract import SessionStoreContract, SharedSessionStoreContract

__all__ = [
    "FakePeer",
    "FakePlace",
    "FakeSessionStore",
    "FakeSink",
    "FakeStores",
    "SessionStoreContract",
    "SharedSessionStoreContract",
    "SinkContract",
    "make_batch",
    "make_record",
    "make_session",
]
