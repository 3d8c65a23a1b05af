"""logui-tx: an interaction-logging server that never loses what it has acknowledged."""

from importlib.metadata import version

__version__ = version("logui-tx")
