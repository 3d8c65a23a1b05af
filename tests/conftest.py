"""Settings of all tests."""

import signal

from hypothesis import HealthCheck, settings

# Whom a shell starts in the background ignores Ctrl-C, and so would all processes of the tests.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Generated tests find mistakes, not slowness: the machine may be busy.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
