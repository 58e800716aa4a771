"""The Celery app of celery_checks.py: also what its worker imports. SERVER is the URL, the only setting."""

import os
import time

import celery
from jobs import executed

app = celery.Celery("checks", broker=os.environ["SERVER"], backend=os.environ["SERVER"])


@app.task
def add(a, b):
    return a + b


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def fail():
    raise ValueError("on purpose")


@app.task(bind=True)
def fail_twice(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    return self.request.retries


@app.task(bind=True)
def progress(self):
    self.update_state(state="PROGRESS", meta={"done": 1})
    time.sleep(1)


@app.task
def moment():
    return time.time()


@app.task
def work(job):
    executed(job)
    time.sleep(0.02)
    return job
