"""An app that knows one Redis, by the variables and arguments that apps use; its client has default settings.

Counts upwards in a few keys until SIGTERM (or, with APP_ENDS=yes, for a while), goes on a little longer to end its work, reads
back what it has written, and says how it went. Never tries anything again.
"""

import os
import signal
import sys
import time

import redis

told = False


def tell(*_):
    global told
    told = True


def client():
    if "--redis" in sys.argv:
        return redis.Redis.from_url(sys.argv[sys.argv.index("--redis") + 1])
    if "REDIS_URL" in os.environ:
        return redis.Redis.from_url(os.environ["REDIS_URL"])
    return redis.Redis(os.environ["REDIS_HOST"], int(os.environ.get("REDIS_PORT", "6379")))


def main():
    signal.signal(signal.SIGTERM, tell)
    server = client()
    written = errors = left = 0
    end = time.monotonic() + 2 if os.environ["APP_ENDS"] == "yes" else float("inf")
    last = None
    while last is None or time.monotonic() < last:
        if last is None and (told or time.monotonic() > end):
            last = time.monotonic() + 1
        if last is not None:
            left += 1
        try:
            server.incr(f"app:{os.getpid()}:{written % 64}")
            written += 1
        except redis.RedisError as error:
            errors += 1
            print(error, flush=True)
        if written == 10:
            print("working", flush=True)
    try:
        found = sum(int(server.get(f"app:{os.getpid()}:{each}") or 0) for each in range(64))
        errors += found != written
    except redis.RedisError as error:
        errors += 1
        print(error)
    print(f"{written} writes, {left} of them after it was told to end, {errors} errors")
    sys.exit(errors > 0)


main()
