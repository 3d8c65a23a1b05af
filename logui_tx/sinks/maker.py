"""A maker whose sink is imported when it is made: listing sinks loads no driver."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from attrs import frozen
from twisted.plugin import IPlugin
from zope.interface import implementer

from logui_tx.errors import BadOption
from logui_tx.interfaces import ISink, ISinkMaker
from logui_tx.model import SinkURI
from logui_tx.options import Parameter


@implementer(IPlugin, ISinkMaker)
@frozen
class LazySinkMaker:
    """``factory`` is ``module:name`` of a callable that is given the URI and the reactor.

    ``extra`` is the extra of logui-tx with what the module imports.
    """

    schemes: tuple[str, ...]
    summary: str
    form: str
    factory: str
    parameters: tuple[Parameter, ...] = ()
    extra: str = ""

    def make(self, uri: SinkURI, reactor: Any) -> ISink:
        """See :meth:`ISinkMaker.make`."""
        module, _, name = self.factory.partition(":")
        try:
            factory = getattr(import_module(module), name)
        except ImportError as error:
            if not self.extra:
                raise
            raise BadOption(f"sink: {uri.scheme}: needs the extra logui-tx[{self.extra}]: {error}") from None
        return cast(ISink, factory(uri, reactor))
