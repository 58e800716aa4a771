"""What the jobs of rq_checks.py do; imported by its workers."""

import pathlib
import time

from jobs import DIR, executed


def add(a, b):
    return a + b


def moment():
    return time.time()


def fail():
    raise ValueError("on purpose")


def fail_once(job):
    path = pathlib.Path(DIR / f"failed-{job}")
    if not path.exists():
        path.touch()
        raise ValueError("only once")
    return job


def report(job, connection, result):
    """A callback of success."""
    connection.set(f"rq:checks:{job.id}", result)


def work(job):
    executed(job)
    return job
