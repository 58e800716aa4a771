"""Checks of redis-py and valkey-py for what is bound to a connection: transactions, locks, blocking, Pub/Sub, caches."""

import threading
import time

from harness import MODERN, SPLIT_PORT, another, check, connect, library, protocol_of, raises, wait_until, while_blocked

ResponseError = library.ResponseError
WatchError = library.WatchError


@check
def transactions(r):
    for i in range(100):
        with r.pipeline() as pipe:
            pipe.set(f"{{{i}}}a", i).get(f"{{{i}}}a").incr(f"{{{i}}}b").hset(f"{{{i}}}h", "f", i)
            assert pipe.execute() == [True, b"%d" % i, 1, 1]
    with r.pipeline() as pipe:
        assert pipe.execute() == []
        pipe.set("{e}", "text").incr("{e}").get("{e}")
        ok, error, text = pipe.execute(raise_on_error=False)
        assert ok is True and isinstance(error, ResponseError) and text == b"text"
        pipe.incr("{e}").set("{e}", "more")
        assert "not an integer" in str(raises(ResponseError, pipe.execute))
    assert r.get("{e}") == b"more", "what stands behind an error is executed"


@check
def transactions_with_an_error_in_the_queue(r):
    with r.pipeline() as pipe:
        pipe.set("{q}", 1).execute_command("NONESUCH", "{q}")
        raises(ResponseError, pipe.execute)
    assert r.exists("{q}") == 0, "nothing was executed"
    assert r.ping() is True


@check
def transactions_with_watch(r):
    """Four clients increment by reading and writing."""

    def client():
        own = another(r)

        def increment(pipe):
            before = int(pipe.get("n") or 0)
            pipe.multi()
            pipe.set("n", before + 1)

        for _ in range(50):
            assert own.transaction(increment, "n") == [True]

    threads = [threading.Thread(target=client, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert r.get("n") == b"200"
    returned = r.transaction(lambda pipe: (pipe.multi(), pipe.get("n"), "mine")[2], "n", value_from_callable=True)
    assert returned == "mine"


@check
def watch_errors(r):
    with r.pipeline() as pipe:
        pipe.watch("{w}a", "{w}b")
        assert pipe.get("{w}a") is None, "at once, before multi()"
        r.set("{w}b", 1)
        pipe.multi()
        pipe.set("{w}a", 1)
        raises(WatchError, pipe.execute)
        assert r.exists("{w}a") == 0
        pipe.watch("{w}b")
        r.incr("{w}b")
        pipe.unwatch()
        pipe.set("{w}a", 2)
        assert pipe.execute() == [True]
    with r.pipeline() as pipe:
        pipe.watch("{w}a")
        r.set("{w}a", 3)
    # The connection goes back to the pool without a watch.
    with r.pipeline() as pipe:
        assert pipe.get("{w}a").execute() == [b"3"]


@check
def locks(r):
    first = r.lock("lock", timeout=10)
    assert first.acquire() is True
    assert another(r).lock("lock", timeout=10, blocking_timeout=0.1).acquire() is False
    assert first.extend(10) is True and first.reacquire() is True and first.owned() and first.locked()
    assert 9000 < r.pttl("lock") <= 10000
    first.release()
    raises(library.exceptions.LockError, first.release)
    brief = r.lock("lock", timeout=0.2)
    brief.acquire()
    taken = another(r).lock("lock", timeout=10, sleep=0.01, blocking_timeout=10)
    assert taken.acquire() is True, "the first owner's time is over"
    raises(library.exceptions.LockError, brief.release)
    taken.release()


@check
def locks_of_several_clients(r):
    """Without the lock some of these increments would be lost."""

    def client():
        own = another(r)
        for _ in range(20):
            with own.lock("lock", timeout=20, sleep=0.002):
                own.set("n", int(own.get("n") or 0) + 1)

    threads = [threading.Thread(target=client, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert r.get("n") == b"80"


@check
def registered_scripts(r):
    script = r.register_script("redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])")
    with r.pipeline() as pipe:
        for i in range(10):
            script(keys=[f"{{s}}{i}"], args=[i], client=pipe)
        assert pipe.execute() == [b"%d" % i for i in range(10)]
    r.script_flush()
    for i in range(50):
        assert script(keys=[f"k:{i}"], args=[i]) == b"%d" % i
    r.script_flush()
    with r.pipeline() as pipe:
        script(keys=["{s}"], args=["again"], client=pipe)
        assert pipe.execute() == [b"again"]


def messages(pubsub, count):
    """So many messages, each as (type, pattern, channel, data)."""
    found = []
    end = time.monotonic() + 20
    while len(found) < count:
        assert time.monotonic() < end, f"{count} messages expected, only got {found}"
        message = pubsub.get_message(timeout=1) if MODERN else pubsub.get_message()
        if message:
            found.append(tuple(message[part] for part in ("type", "pattern", "channel", "data")))
    return found


@check
def subscriptions(r):
    pubsub, other = r.pubsub(), another(r)
    pubsub.subscribe("c1", "c2")
    pubsub.psubscribe("c*", "p:*")
    assert messages(pubsub, 4) == [
        ("subscribe", None, b"c1", 1),
        ("subscribe", None, b"c2", 2),
        ("psubscribe", None, b"c*", 3),
        ("psubscribe", None, b"p:*", 4),
    ]
    assert [other.publish(channel, "text") for channel in ("c1", "c3", "p:1", "nobody")] == [2, 1, 1, 0]
    # Patterns have no order among themselves.
    assert set(messages(pubsub, 4)) == {
        ("message", None, b"c1", b"text"),
        ("pmessage", b"c*", b"c1", b"text"),
        ("pmessage", b"c*", b"c3", b"text"),
        ("pmessage", b"p:*", b"p:1", b"text"),
    }
    assert set(other.pubsub_channels()) == {b"c1", b"c2"}
    assert dict(other.pubsub_numsub("c1", "c3")) == {b"c1": 1, b"c3": 0}
    assert other.pubsub_numpat() == 2
    pubsub.unsubscribe("c1")
    pubsub.punsubscribe()
    [first, *patterns] = messages(pubsub, 3)
    assert first == ("unsubscribe", None, b"c1", 3)
    assert {(kind, channel) for kind, _, channel, _ in patterns} == {("punsubscribe", b"c*"), ("punsubscribe", b"p:*")}
    assert other.publish("c1", "nobody") == 0 and other.publish("c2", "heard") == 1
    assert messages(pubsub, 1) == [("message", None, b"c2", b"heard")]
    pubsub.unsubscribe()
    assert messages(pubsub, 1) == [("unsubscribe", None, b"c2", 0)]
    pubsub.subscribe("c4")
    assert messages(pubsub, 1) == [("subscribe", None, b"c4", 1)]
    pubsub.close()
    wait_until("the subscription has ended", lambda: other.publish("c4", "gone") == 0)


@check
def subscriptions_to_many_channels_keep_the_order_of_each(r):
    pubsub, other = r.pubsub(ignore_subscribe_messages=True), another(r)
    channels = [f"channel:{i}" for i in range(50)]
    pubsub.subscribe(*channels)
    wait_until("all are subscribed", lambda: (pubsub.get_message(), len(other.pubsub_channels()) == 50)[1])
    with other.pipeline(transaction=False) as pipe:
        for number in range(20):
            for channel in channels:
                pipe.publish(channel, number)
        assert pipe.execute() == [1] * 1000
    heard = {}
    for kind, _, channel, data in messages(pubsub, 1000):
        assert kind == "message"
        heard.setdefault(channel, []).append(int(data))
    assert heard == {channel.encode(): list(range(20)) for channel in channels}
    pubsub.close()


@check
def subscriptions_in_a_thread(r):
    heard = []
    pubsub = r.pubsub(ignore_subscribe_messages=True)
    pubsub.subscribe(**{"news": lambda message: heard.append(message["data"])})
    pubsub.psubscribe(**{"new?": lambda message: heard.append(b"pattern " + message["data"])})
    thread = pubsub.run_in_thread(sleep_time=0.01, daemon=True)
    other = another(r)
    wait_until("both are subscribed", lambda: other.publish("news", "text") == 2)
    wait_until("both handlers are called", lambda: {b"text", b"pattern text"} <= set(heard))
    thread.stop()
    thread.join(20)
    assert not thread.is_alive()


@check
def sharded_subscriptions(r):
    if not hasattr(r, "spublish"):
        return
    pubsub, other = r.pubsub(), another(r)
    for channel in ("s1", "s2", "s3"):
        pubsub.ssubscribe(channel)
    assert [channel for _, _, channel, _ in messages(pubsub, 3)] == [b"s1", b"s2", b"s3"]
    for channel in ("s1", "s2", "s3"):
        assert other.spublish(channel, "text") == 1
        assert other.publish(channel, "is another world") == 0
    assert {(kind, channel, data) for kind, _, channel, data in messages(pubsub, 3)} == {
        ("smessage", channel, b"text") for channel in (b"s1", b"s2", b"s3")
    }
    pubsub.close()


@check
def notifications_of_keys_in_all_slots(r):
    pubsub, other = r.pubsub(ignore_subscribe_messages=True), another(r)
    other.config_set("notify-keyspace-events", "KEA")
    try:
        pubsub.psubscribe("__keyevent@0__:set")
        wait_until("the pattern is subscribed", lambda: (pubsub.get_message(), other.pubsub_numpat() == 1)[1])
        for i in range(100):
            other.set(f"k:{i}", i)
        events = messages(pubsub, 100)
        assert {key for _, _, _, key in events} == {b"k:%d" % i for i in range(100)}
    finally:
        other.config_set("notify-keyspace-events", "")
        pubsub.close()


@check
def blocking_pops(r):
    other = another(r)
    r.rpush("l2", 1, 2)
    assert tuple(r.blpop(["l1", "l2", "l3"], timeout=1)) == (b"l2", b"1")
    assert tuple(r.brpop(["l1", "l2", "l3"], timeout=0)) == (b"l2", b"2")
    assert r.blpop(["l1", "l2", "l3"], timeout=0.05) is None
    assert r.brpop("l1", timeout=0.05) is None
    assert r.brpoplpush("{l}1", "{l}2", timeout=1) is None
    waits = [
        (lambda: r.blpop("l1"), "l1", (b"l1", b"x")),
        (lambda: r.blpop(["l1", "l2", "l3"]), "l3", (b"l3", b"x")),
        (lambda: r.brpop(["l1", "l2", "l3"], timeout=20), "l2", (b"l2", b"x")),
    ]
    for wait, key, expected in waits:
        assert tuple(while_blocked(other, wait, lambda: other.rpush(key, "x"))) == expected
    moved = while_blocked(other, lambda: r.brpoplpush("{l}1", "{l}2"), lambda: other.rpush("{l}1", "x"))
    assert moved == b"x" and r.lrange("{l}2", 0, -1) == [b"x"]
    if MODERN:
        moved = while_blocked(other, lambda: r.blmove("{l}1", "{l}2", 0), lambda: other.rpush("{l}1", "y"))
        assert moved == b"y" and r.lrange("{l}2", 0, -1) == [b"x", b"y"]
    if hasattr(r, "blmpop"):
        many = while_blocked(
            other,
            lambda: r.blmpop(0, 3, "l1", "l2", "l3", direction="LEFT", count=2),
            lambda: other.rpush("l2", "a", "b", "c"),
        )
        assert list(many) == [b"l2", [b"a", b"b"]]


@check
def blocking_pops_of_sorted_sets(r):
    other = another(r)
    r.zadd("z2", {"a": 1, "b": 2.5})
    assert list(r.bzpopmin(["z1", "z2", "z3"], timeout=1)) == [b"z2", b"a", 1]
    assert list(r.bzpopmax(["z1", "z2"], timeout=1)) == [b"z2", b"b", 2.5]
    assert r.bzpopmin(["z1", "z2"], timeout=0.05) is None
    popped = while_blocked(other, lambda: r.bzpopmin(["z1", "z2", "z3"]), lambda: other.zadd("z3", {"x": 7}))
    assert list(popped) == [b"z3", b"x", 7]


def streams(reply):
    """What was read, by stream; the reply is a list of pairs in RESP2 and a map in RESP3."""
    pairs = reply.items() if isinstance(reply, dict) else reply
    flat = {}
    for name, read in pairs:
        # Some versions nest the entries once more in RESP3.
        read = read[0] if read and isinstance(read[0], list) else read
        flat[name] = [(id, fields) for id, fields in read]
    return flat


@check
def blocking_reads_of_streams(r):
    other = another(r)
    assert not r.xread({"x1": "$"}, block=50)
    read = while_blocked(
        other,
        lambda: r.xread({"x1": "$"}, block=0),
        lambda: other.xadd("x1", {"f": "1"}, id="1-1"),
    )
    assert streams(read) == {b"x1": [(b"1-1", {b"f": b"1"})]}
    assert streams(r.xread({"x1": "0", "x2": "0", "x3": "0"}, block=50)) == {b"x1": [(b"1-1", {b"f": b"1"})]}
    read = while_blocked(
        other,
        lambda: r.xread({"x1": "$", "x2": "$", "x3": "$"}, block=20000),
        lambda: other.xadd("x3", {"f": "3"}, id="3-1"),
    )
    assert streams(read) == {b"x3": [(b"3-1", {b"f": b"3"})]}
    r.xgroup_create("x1", "g", id="$")
    assert not r.xreadgroup("g", "c", {"x1": ">"}, block=50)
    read = while_blocked(
        other,
        lambda: r.xreadgroup("g", "c", {"x1": ">"}, block=0),
        lambda: other.xadd("x1", {"f": "2"}, id="2-1"),
    )
    assert streams(read) == {b"x1": [(b"2-1", {b"f": b"2"})]}
    assert r.xack("x1", "g", "2-1") == 1


@check
def monitoring(r):
    other = another(r)
    with r.monitor() as monitor:
        for i in range(20):
            other.set(f"watched:{i}", i)
        wanted = {f"SET watched:{i} {i}" for i in range(20)}
        for _ in range(1000):
            command = monitor.next_command()["command"]
            wanted.discard(command if isinstance(command, str) else command.decode())
            if not wanted:
                break
        assert not wanted, f"never seen: {wanted}"
    assert r.ping() is True


@check
def waiting_for_replicas(r):
    r.set("k", 1)
    assert r.wait(0, 100) >= 0
    assert r.wait(9, 50) < 9


@check
def a_cache_in_the_client(r):
    if protocol_of(r) != 3:
        return
    if hasattr(r, "get_cache"):
        cached = with_a_cache_of_redis_py(r)
        size = lambda: cached.get_cache().size  # noqa: E731
    else:
        cached = another(r, cache_enabled=True)
        size = lambda: len(cached.connection_pool._available_connections[0].client_cache.cache)  # noqa: E731
    keys = [f"k:{i}" for i in range(100)]
    r.mset({key: "old" for key in keys})
    for _ in range(2):
        assert [cached.get(key) for key in keys] == [b"old"] * 100
    assert size() == 100
    r.mset({key: "new" for key in keys})
    wait_until("the cache is told", lambda: [cached.get(key) for key in keys] == [b"new"] * 100)
    r.delete(keys[0])
    wait_until("the cache is told of a deletion", lambda: cached.get(keys[0]) is None)
    cached.close()


def with_a_cache_of_redis_py(r):
    """It insists on a server that is called redis and of version 7.4; the protocol is that of 6.0."""
    from redis.cache import CacheConfig
    from redis.connection import CacheProxyConnection

    CacheProxyConnection.MIN_ALLOWED_VERSION = "6.0.0"
    CacheProxyConnection.DEFAULT_SERVER_NAME = r.execute_command("HELLO", "3")[b"server"].decode()
    return another(r, cache_config=CacheConfig())


@check
def default_pipelines_over_all_slots_where_they_are_split(r):
    if not SPLIT_PORT:
        print("# left out: no listener that splits")
        return
    split = connect(protocol_of(r), port=SPLIT_PORT)
    with split.pipeline() as pipe:
        for i in range(1000):
            pipe.set(f"k:{i}", i)
        for i in range(1000):
            pipe.get(f"k:{i}").rpush(f"l:{i}", "a", "b").lpop(f"l:{i}")
        replies = pipe.execute()
    assert replies == [True] * 1000 + [reply for i in range(1000) for reply in (b"%d" % i, 2, b"a")]
    with split.pipeline() as pipe:
        pipe.set("k:1", "text").incr("k:1").get("k:2")
        _, error, number = pipe.execute(raise_on_error=False)
        assert isinstance(error, ResponseError) and number == b"2"
    split.close()
