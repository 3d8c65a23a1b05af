"""The sinks that come with logui-tx."""

from logui_tx.options import Parameter, duration, size, text
from logui_tx.sinks.maker import LazySinkMaker
from logui_tx.sinks.uri import one_of, permissions, statuses

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

TEMPORARY = "401,403,404,407,408,409,425,429"
"""Who is asked, who asks, or when: nothing that is the fault of a record."""

http = LazySinkMaker(
    schemes=("http", "https"),
    summary="batches posted to a receiver, signed, each with a key of its own",
    form="https://collector.example.org/logui?format=ndjson&secret-file=/etc/logui/secret",
    factory="logui_tx.sinks.http:HTTPSink",
    parameters=(
        Parameter("format", one_of("ndjson", "json"), "ndjson", "Objects on lines, or in an array."),
        Parameter("compress", one_of("none", "gzip"), "none", "Of what is sent: none or gzip."),
        Parameter("sessions", one_of("yes", "no"), "yes", "Whether sessions are posted, too."),
        Parameter("secret-file", text, None, "File of the secret that signs what is sent."),
        Parameter("token-file", text, None, "File of a token, for Authorization: Bearer."),
        Parameter("query", text, None, "The receiver's own query: a%3D1 becomes ?a=1."),
        Parameter("temporary", statuses, TEMPORARY, "Statuses that do not refuse a batch for good."),
        Parameter("timeout", duration, "30s", "Longest time for a request and its answer.", least=0.1),
        Parameter("ca", text, None, "File (PEM) with the authorities to trust, not the system's."),
    ),
    extra="http",
)
