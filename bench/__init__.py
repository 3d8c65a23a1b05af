"""The project's own benchmarks: ``bin/bench``. What they measure and how: docs/performance.md.

They look at the server from outside, as a client and the operating system see it. So they measure whatever
is in the checkout, and a figure means the same before and after a change.
"""
