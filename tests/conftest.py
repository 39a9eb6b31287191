"Hypothesis profiles: 200 cases per property in `make test`, 10,000 in `make test-slow`."

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
