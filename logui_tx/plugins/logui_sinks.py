"""The sinks that come with logui-tx."""

from logui_tx.sinks.maker import LazySinkMaker

blackhole = LazySinkMaker(
    schemes=("blackhole",),
    summary="takes everything and keeps nothing",
    form="blackhole:",
    factory="logui_tx.sinks.blackhole:Blackhole",
)
