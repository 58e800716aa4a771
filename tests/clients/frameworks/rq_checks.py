"""RQ with a worker and its scheduler, and default settings.

    rq_checks.py PORT
"""

import datetime
import sys
import time

import jobs
import redis
import rq
import rq_tasks as tasks
from jobs import check

URL = f"redis://127.0.0.1:{sys.argv[1]}/0"
connection = redis.Redis.from_url(URL)
queue = rq.Queue(connection=connection)


def has_ended(job):
    return job.get_status() in ("finished", "failed", "canceled")


def result_of(job):
    jobs.wait_until("an end", lambda: has_ended(job))
    assert job.get_status() == "finished", job.get_status()
    return job.return_value()


@check
def a_worker_starts():
    jobs.supervise(jobs.program("rq"), "worker", "--with-scheduler", "--url", URL)
    jobs.wait_until("a worker", lambda: rq.Worker.count(connection) == 1)
    (worker,) = rq.Worker.all(connection)
    assert worker.queue_names() == ["default"]


@check
def results():
    assert result_of(queue.enqueue(tasks.add, 2, 3)) == 5
    many = queue.enqueue_many([rq.Queue.prepare_data(tasks.add, (i, 1)) for i in range(3)])
    assert [result_of(job) for job in many] == [1, 2, 3]
    assert {job.id for job in many} <= set(queue.finished_job_registry.get_job_ids())


@check
def failures():
    job = queue.enqueue(tasks.fail)
    jobs.wait_until("an end", lambda: has_ended(job))
    assert job.is_failed and "on purpose" in job.latest_result().exc_string
    assert job.id in queue.failed_job_registry
    queue.failed_job_registry.requeue(job)
    jobs.wait_until("another end", lambda: len(job.results()) == 2)
    jobs.wait_until("the registry has it", lambda: job.id in queue.failed_job_registry)
    job.delete()
    assert job.id not in queue.failed_job_registry


@check
def retries():
    at_once = queue.enqueue(tasks.fail_once, "at-once", retry=rq.Retry(max=2))
    later = queue.enqueue(tasks.fail_once, "later", retry=rq.Retry(max=2, interval=1))
    assert result_of(at_once) == "at-once"
    assert result_of(later) == "later"


@check
def scheduled_jobs():
    start = time.time()
    later = queue.enqueue_in(datetime.timedelta(seconds=1), tasks.moment)
    at_a_time = queue.enqueue_at(datetime.datetime.now() + datetime.timedelta(seconds=1), tasks.moment)
    assert {later.id, at_a_time.id} <= set(queue.scheduled_job_registry.get_job_ids())
    assert result_of(later) - start > 0.5
    assert result_of(at_a_time) - start > 0.5


@check
def dependencies():
    first = queue.enqueue(tasks.add, 1, 1)
    second = queue.enqueue(tasks.add, 2, 2, depends_on=first)
    third = queue.enqueue(tasks.add, 3, 3, depends_on=[first, second])
    assert [result_of(job) for job in (third, second, first)] == [6, 4, 2]
    failed = queue.enqueue(tasks.fail)
    anyway = queue.enqueue(tasks.add, 4, 4, depends_on=rq.job.Dependency(failed, allow_failure=True))
    assert result_of(anyway) == 8


@check
def callbacks():
    job = queue.enqueue(tasks.add, 20, 22, on_success=rq.Callback(tasks.report))
    assert result_of(job) == 42
    jobs.wait_until("the callback", lambda: connection.get(f"rq:checks:{job.id}") == b"42")


@check
def canceled_and_unique_jobs():
    job = queue.enqueue_in(datetime.timedelta(hours=1), tasks.moment)
    job.cancel()
    assert job.get_status() == "canceled" and job.id in queue.canceled_job_registry
    unique = queue.enqueue_in(datetime.timedelta(hours=1), tasks.moment, job_id="unique")
    jobs.raises(rq.exceptions.DuplicateJobError, lambda: queue.enqueue(tasks.moment, job_id="unique", unique=True))
    unique.delete()


@check
def a_job_is_stopped_by_a_command():
    job = queue.enqueue("time.sleep", 60)
    jobs.wait_until("the job runs", lambda: job.get_status() == "started" and rq.Worker.all(connection)[0].get_current_job_id())
    rq.command.send_stop_job_command(connection, job.id)
    jobs.wait_until("the job is stopped", lambda: job.get_status() == "stopped")


@check
def several_queues_of_one_worker():
    high, low = rq.Queue("high", connection=connection), rq.Queue("low", connection=connection)
    jobs.start(jobs.program("rq"), "worker", "--url", URL, "high", "low")
    assert result_of(low.enqueue(tasks.add, 1, 2)) == 3
    assert result_of(high.enqueue(tasks.add, 3, 4)) == 7


@check
def each_job_runs_once():
    jobs.each_job_runs_once(
        enqueue=lambda i: queue.enqueue(tasks.work, i, job_id=f"job-{i}"),
        is_done=lambda i: queue.fetch_job(f"job-{i}").get_status() == "finished",
        is_stranded=has_lost_its_worker,
        job_count=40,
        at_once=1,
    )


def has_lost_its_worker(i):
    """RQ finds it when its worker has not been heard of for long enough. Or the worker lost its server, and says that the job failed."""
    registries = [queue.started_job_registry, queue.intermediate_queue, queue.failed_job_registry]
    return any(f"job-{i}" in registry.get_job_ids() for registry in registries)


@check
def nothing_is_left_in_the_queue():
    assert len(queue) == 0
    left = 1 if jobs.FAULT else 0
    jobs.wait_until("no job is under way", lambda: queue.started_job_registry.count <= left)


jobs.main(f"rq {rq.__version__}")
