"""Hypothesis profiles, 200 cases per property in `make test` and 10,000 in `make test-slow`, and the order of work.

Two workers end together where what takes minutes by itself begins first.
"""

import os

from hypothesis import HealthCheck, settings

quiet = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow],
    "derandomize": True,
}
settings.register_profile("default", max_examples=200, **quiet)
settings.register_profile("slow", max_examples=10_000, **quiet)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

LONG = ("test_hunt.py", "test_float64.py", "test_install.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONG)
