"""The steps that come with logui-tx."""

from logui_tx.sinks.steps import drop, hash_, sample, shorten

__all__ = ["drop", "hash_", "sample", "shorten"]
