"""Recorded mouse sessions, played against a server: a library for tests and benchmarks, and a command."""
