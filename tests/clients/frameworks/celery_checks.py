"""Celery with Redis as broker and as result backend, a worker of its own, and default settings.

    celery_checks.py PORT
"""

import datetime
import os
import sys
import time

os.environ["SERVER"] = f"redis://127.0.0.1:{sys.argv[1]}/0"

import celery  # noqa: E402 (the app asks for SERVER)
import celery_app as tasks  # noqa: E402
import jobs  # noqa: E402
from jobs import LIMIT, check  # noqa: E402

app = tasks.app


def start_worker():
    return jobs.start(jobs.program("celery"), "-A", "celery_app", "worker", "--concurrency=2")


@check
def a_worker_starts_and_answers():
    global worker
    worker = start_worker()
    jobs.wait_until("an answer", lambda: app.control.ping(timeout=0.5))
    (stats,) = app.control.inspect(timeout=2).stats().values()
    assert stats["broker"]["transport"] == "redis"


@check
def results():
    assert tasks.add.delay(2, 3).get(LIMIT) == 5
    assert [result.get(LIMIT) for result in [tasks.add.delay(i, 1) for i in range(20)]] == list(range(1, 21))


@check
def failures():
    result = tasks.fail.delay()
    jobs.raises(ValueError, lambda: result.get(LIMIT))
    assert result.failed() and "on purpose" in result.traceback


@check
def states():
    result = tasks.progress.delay()
    jobs.wait_until("progress", lambda: result.state == "PROGRESS")
    assert result.info == {"done": 1}
    assert result.get(LIMIT) is None
    result.forget()
    assert result.state == "PENDING"


@check
def chains():
    chain = tasks.add.s(1, 2) | tasks.add.s(3) | tasks.add.s(4)
    assert chain().get(LIMIT) == 10


@check
def groups():
    result = celery.group(tasks.add.s(i, i) for i in range(10))()
    assert result.get(LIMIT) == [2 * i for i in range(10)]
    result.save()
    assert app.GroupResult.restore(result.id).results == result.results
    result.delete()


@check
def chords():
    header = [tasks.add.s(i, i) for i in range(10)]
    assert celery.chord(header)(tasks.total.s()).get(LIMIT) == 90
    # A group of chains in the header: its parts are counted in another way.
    header = [tasks.add.s(i, 1) | tasks.add.s(1) for i in range(3)]
    assert celery.chord(header)(tasks.total.s()).get(LIMIT) == 9
    assert (celery.group(header) | tasks.total.s() | tasks.add.s(1))().get(LIMIT) == 10


@check
def a_chord_with_a_failure():
    result = celery.chord([tasks.add.s(1, 1), tasks.fail.s()])(tasks.total.s())
    jobs.wait_until("a failure", result.failed)
    assert isinstance(result.result, celery.exceptions.ChordError)


@check
def countdown_and_eta():
    start = time.time()
    later = tasks.moment.apply_async(countdown=1)
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)
    at_a_time = tasks.moment.apply_async(eta=at)
    assert later.get(LIMIT) - start >= 1
    assert at_a_time.get(LIMIT) >= at.timestamp()


@check
def retries():
    assert tasks.fail_twice.delay().get(LIMIT) == 2


@check
def priorities():
    results = [tasks.add.apply_async((i, 0), priority=i) for i in range(10)]
    assert [result.get(LIMIT) for result in results] == list(range(10))


@check
def a_revoked_task_does_not_run():
    result = tasks.add.apply_async((1, 1), countdown=2)
    app.control.revoke(result.id)
    jobs.raises(celery.exceptions.TaskRevokedError, lambda: result.get(LIMIT))
    # The worker says so before it acknowledges the message.
    jobs.wait_until("it is acknowledged", lambda: sizes() == (0, 0, 0))


@check
def a_worker_that_ends_gives_back_what_it_has_not_begun():
    global worker
    results = [tasks.moment.apply_async(countdown=3) for _ in range(5)]
    jobs.wait_until("the worker has them", lambda: sizes() == (0, 5, 5))
    worker.terminate()
    assert worker.wait(LIMIT) == 0
    given_back = sizes()
    assert given_back == (5, 0, 0), given_back
    worker = start_worker()
    assert all(result.get(LIMIT) for result in results)


def sizes():
    with app.pool.acquire(block=True) as connection:
        client = connection.default_channel.client
        return client.llen("celery"), client.hlen("unacked"), client.zcard("unacked_index")


@check
def each_job_runs_once():
    jobs.each_job_runs_once(
        enqueue=lambda i: tasks.work.apply_async((i,), task_id=f"job-{i}"),
        is_done=lambda i: app.AsyncResult(f"job-{i}").successful(),
        is_stranded=is_unacknowledged,
        job_count=200,
        at_once=2,
        # It pops a message and notes it in `unacked` in a second step: what has broken in between nobody knows of, whatever the server.
        may_lose=1,
    )


def is_unacknowledged(i):
    """It comes again after an hour (visibility_timeout)."""
    with app.pool.acquire(block=True) as connection:
        return any(f"job-{i}".encode() in message for message in connection.default_channel.client.hvals("unacked"))


@check
def nothing_stays_in_the_queue():
    # An acknowledgement that was cut off is not repeated.
    left = 2 if jobs.FAULT else 0
    jobs.wait_until("nothing is left", lambda: max(sizes()) <= left and sizes()[0] == 0)
    print(f"# unacknowledged: {sizes()[1]}")


jobs.main(f"celery {celery.__version__}")
