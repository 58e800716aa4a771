"""What the checks of all job frameworks in Python share: worker processes, a count of what was executed, TAP lines.

Checks run one after another with the same workers. What a job does is written into files below FRAMEWORKS_DIR, because Redis is
what is under test. FRAMEWORKS_FAULT, if set, is a command that kills the server in the middle of a check.
"""

import collections
import os
import pathlib
import signal
import subprocess
import sys
import time
import traceback

FAULT = os.environ.get("FRAMEWORKS_FAULT")
DIR = pathlib.Path(os.environ["FRAMEWORKS_DIR"])
LIMIT = 60
CHECKS = []
PROCESSES = []


def check(function):
    CHECKS.append(function)
    return function


def executed(job):
    """Called by a job: one byte each time, appended at once."""
    with open(DIR / f"job-{job}", "ab", buffering=0) as file:
        file.write(b"x")


def executions():
    return collections.Counter({path.name[4:]: path.stat().st_size for path in DIR.glob("job-*")})


def wait_until(what, done, seconds=LIMIT):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"still waiting: {what}"
        time.sleep(0.02)


def raises(error, function):
    try:
        function()
    except error as raised:
        return raised
    raise AssertionError(f"{error.__name__} was not raised")


def start(*command):
    """In a process group of its own, ended by main."""
    with open(DIR / "workers.log", "ab") as log:
        process = subprocess.Popen(
            command,
            cwd=pathlib.Path(__file__).parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    PROCESSES.append(process)
    return process


def supervise(*command):
    """Starts it again whenever it ends, as an init system does."""
    return start("sh", "-c", 'while :; do "$@"; sleep 0.5; done', "sh", *command)


def program(name):
    """One that was installed with the library."""
    return str(pathlib.Path(sys.executable).parent / name)


def insist(function):
    """What it returns, and how often it had to be called: an app tries again when its server has gone."""
    for attempt in range(1, 100):
        try:
            return function(), attempt
        except Exception as error:
            print(f"# {type(error).__name__}: {error}", flush=True)
            time.sleep(0.5)
    raise AssertionError("the server does not come back")


def each_job_runs_once(enqueue, is_done, is_stranded, job_count, at_once, may_lose=0):
    """`enqueue(i)` puts a job that calls `executed(i)`, by a name of its own; `at_once` of them run at a time.

    In the middle of it the server is killed. What was under way then may be stranded, for the framework to find when its time
    is over, or may run once more. So it is with a server that restarts, too. `may_lose`: so many the framework itself may lose.
    """
    repeated = set()
    for i in range(job_count):
        _, attempts = insist(lambda: enqueue(i))
        if attempts > 1:
            repeated.add(i)
        if i == job_count // 2 and FAULT:
            fault = subprocess.Popen(["bash", "-c", FAULT], stdout=sys.stderr)
    assert not FAULT or fault.wait(LIMIT) == 0, "the fault could not be made"
    pending = wait_for_ends(set(range(job_count)), is_done)
    assert FAULT or not pending, f"not done: {pending}"
    stranded = {i for i in pending if insist(lambda: is_stranded(i))[0]}
    counts = executions()
    lost = pending - stranded | {i for i in range(job_count) if not counts[str(i)]} - stranded
    twice = {i for i in range(job_count) if counts[str(i)] > 1} - repeated
    print(f"# lost: {lost}, stranded: {stranded}, run twice: {twice}, enqueued again: {repeated}", flush=True)
    assert len(lost) <= (may_lose if FAULT else 0)
    assert max(len(stranded), len(twice)) <= (at_once if FAULT else 0)


def wait_for_ends(pending, is_done, seconds=10):
    """What is not done when nothing has ended for so long."""
    last = time.monotonic()
    while pending and time.monotonic() < last + seconds:
        done = {i for i in pending if insist(lambda: is_done(i))[0]}
        if done:
            pending, last = pending - done, time.monotonic()
        time.sleep(0.05)
    return pending


def end_processes():
    for process in PROCESSES:
        signal_group(process, signal.SIGTERM)
    for process in PROCESSES:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        signal_group(process, signal.SIGKILL)


def signal_group(process, number):
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


def main(title):
    failed = 0
    names = sys.argv[2:]
    chosen = [function for function in CHECKS if not names or function.__name__ in names]
    for number, function in enumerate(chosen, 1):
        name = f"{title}: {function.__name__}"
        try:
            function()
            print(f"ok {number} - {name}", flush=True)
        except Exception:
            failed += 1
            print(f"not ok {number} - {name}\n{traceback.format_exc()}", flush=True)
    end_processes()
    if failed:
        print((DIR / "workers.log").read_text()[-20000:])
    # Clients that end with the interpreter have a lot to say.
    sys.stdout.flush()
    os._exit(1 if failed else 0)
