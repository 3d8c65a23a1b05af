"""Settings of all tests."""

from hypothesis import HealthCheck, settings

# Generated tests find mistakes, not slowness: the machine may be busy.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
