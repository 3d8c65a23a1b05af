"""Plugins: sinks and steps. Other distributions put modules beside these, without an ``__init__.py``."""

from twisted.plugin import pluginPackagePaths

__path__.extend(pluginPackagePaths(__name__))
__all__: list[str] = []
