"""The sinks that come with logui-tx."""

from logui_tx.options import Parameter, duration, size
from logui_tx.sinks.maker import LazySinkMaker
from logui_tx.sinks.uri import one_of, permissions

blackhole = LazySinkMaker(
    schemes=("blackhole",),
    summary="takes everything and keeps nothing",
    form="blackhole:",
    factory="logui_tx.sinks.blackhole:Blackhole",
)

jsonl = LazySinkMaker(
    schemes=("jsonl",),
    summary="files of lines of JSON, one per flight and day",
    form="jsonl:/var/log/logui?rotate=100MB&compress=zstd",
    factory="logui_tx.sinks.jsonl:JsonLines",
    parameters=(
        Parameter("rotate", size, "100MB", "Size from which on a file is finished.", least=1),
        Parameter("rotate-age", duration, None, "Age from which on a file is finished.", least=1),
        Parameter(
            "compress", one_of("none", "gzip", "zstd"), "none", "Of finished files: none, gzip or zstd."
        ),
        Parameter(
            "fsync", one_of("yes", "no"), "yes", "Whether what is written is to outlast a power failure."
        ),
        Parameter("mode", permissions, "0700", "Permissions of the folder; files have them without x."),
    ),
)
