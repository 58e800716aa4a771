"""Runs named checks one after another, each with a fresh client of an empty server; prints one TAP line for each.

    SCRIPT MODULE PORT      MODULE is redis or valkey

The two libraries have one interface. redis-py 3.5 lacks the newer methods: MODERN says which are there.
"""

import importlib
import os
import sys
import threading
import time
import traceback

library = importlib.import_module(sys.argv[1])
PORT = int(sys.argv[2])
# Where transactions over several slots are split; no such listener, no such check.
SPLIT_PORT = int(os.environ.get("CLIENTS_SPLIT_PORT", "0"))
MODERN = hasattr(library.Redis, "getex")
PROTOCOLS = [2, 3] if MODERN else [2]
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def connect(protocol, port=PORT, **settings):
    if MODERN:
        settings["protocol"] = protocol
    return library.Redis(port=port, **settings)


def protocol_of(r):
    return r.connection_pool.connection_kwargs.get("protocol") or 2


def another(r, **settings):
    """A second client of the same protocol."""
    return connect(protocol_of(r), **settings)


def wait_until(what, done, seconds=20):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"still waiting: {what}"
        time.sleep(0.005)


def while_blocked(r, wait, then):
    """Runs `wait` in a thread, `then` once the server knows that a client is blocked; returns what `wait` returned."""
    replies = []
    thread = threading.Thread(target=lambda: replies.append(wait()), daemon=True)
    thread.start()
    wait_until("a client is blocked", lambda: r.info("clients")["blocked_clients"] == 1)
    then()
    thread.join(20)
    assert replies, "the wait did not end"
    return replies[0]


def raises(error, function):
    try:
        function()
    except error as raised:
        return raised
    raise AssertionError(f"{error.__name__} was not raised")


def main():
    number, failed = 0, 0
    for protocol in PROTOCOLS:
        for function in CHECKS:
            number += 1
            name = f"{library.__name__} {library.__version__} RESP{protocol}: {function.__name__}"
            try:
                r = connect(protocol)
                r.flushall()
                function(r)
                r.close()
                print(f"ok {number} - {name}", flush=True)
            except Exception:
                failed += 1
                print(f"not ok {number} - {name}\n{traceback.format_exc()}", flush=True)
    # Threads that still wait must not keep the process.
    sys.stdout.flush()
    os._exit(1 if failed else 0)
