"""A process that answers requests: one JSON line in, one JSON line out.

It imports nothing but Python's own library, so that any environment can run it.
"""

import json
import sys


def serve(worker):
    """Answer each line of the input by the method that it names."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    for line in sys.stdin:
        request = json.loads(line)
        print(
            json.dumps(getattr(worker, request["do"])(request)),
            file=answers,
            flush=True,
        )
