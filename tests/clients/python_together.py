"""What needs all keys in one place: a plain server, or slotcar with keep-together '*' (CLIENTS_ONE_PLACE says that it is so)."""

import os

from harness import MODERN, another, check, library, raises, while_blocked


def check_in_one_place(function):
    return check(function) if os.environ.get("CLIENTS_ONE_PLACE") else function


@check_in_one_place
def a_default_pipeline_over_a_hundred_keys_is_one_transaction(r):
    with r.pipeline() as pipe:
        for i in range(100):
            pipe.set(f"k:{i}", i)
        pipe.incr("count").rpush("list", "a", "b").lpop("list")
        assert pipe.execute() == [True] * 100 + [1, 2, b"a"]
    with r.pipeline() as pipe:
        pipe.set("k:1", "text").incr("k:1").get("k:2")
        raises(library.ResponseError, pipe.execute)
    assert r.get("k:1") == b"text"


@check_in_one_place
def keys_of_any_name_are_watched_together(r):
    r.mset({"from": 10, "to": 0})
    with r.pipeline() as pipe:
        pipe.watch("from", "to")
        amount = int(pipe.get("from"))
        pipe.multi()
        pipe.set("from", 0).set("to", amount)
        assert pipe.execute() == [True, True]
    with r.pipeline() as pipe:
        pipe.watch("from", "to")
        another(r).set("to", 99)
        pipe.multi()
        pipe.set("from", 1)
        raises(library.WatchError, pipe.execute)

    def transfer(pipe):
        held = int(pipe.get("to"))
        pipe.multi()
        pipe.decrby("to", held).incrby("from", held)

    assert r.transaction(transfer, "from", "to") == [0, 99]


@check_in_one_place
def lists_of_any_name(r):
    r.rpush("one", "a", "b", "c")
    assert r.rpoplpush("one", "two") == b"c"
    assert r.brpoplpush("one", "two", timeout=1) == b"b"
    assert list(r.blpop(["none", "two", "one"], timeout=1)) == [b"two", b"b"]
    assert while_blocked(r, lambda: r.brpoplpush("late", "two", timeout=10), lambda: another(r).rpush("late", "x")) == b"x"
    assert r.sort("two", alpha=True, store="sorted") == 2
    assert r.lrange("sorted", 0, -1) == [b"c", b"x"]
    if MODERN:
        assert r.lmove("two", "three", "LEFT", "RIGHT") == b"x"
        assert r.blmove("two", "three", 1, "LEFT", "LEFT") == b"c"
        assert r.lmpop(3, "none", "three", "one", direction="LEFT", count=5) == [b"three", [b"c", b"x"]]


@check_in_one_place
def sets_of_any_name(r):
    r.sadd("one", 1, 2, 3)
    r.sadd("two", 2, 3, 4)
    assert set(r.sinter("one", "two")) == {b"2", b"3"}
    assert set(r.sunion(["one", "two", "none"])) == {b"1", b"2", b"3", b"4"}
    assert set(r.sdiff("one", "two")) == {b"1"}
    assert r.sinterstore("three", "one", "two") == 2
    assert r.sunionstore("four", "one", "two") == 4
    assert r.sdiffstore("five", "one", "two") == 1
    assert r.smove("one", "two", 1) in (True, 1)
    if MODERN:
        assert r.sintercard(2, ["one", "two"]) == 2


@check_in_one_place
def sorted_sets_of_any_name(r):
    r.zadd("one", {"a": 1, "b": 2})
    r.zadd("two", {"b": 3, "c": 4})
    assert r.zunionstore("sum", ["one", "two"]) == 3
    assert r.zinterstore("both", {"one": 2, "two": 1}, aggregate="MAX") == 1
    assert r.zscore("both", "b") == 4
    assert list(r.bzpopmin(["none", "two", "one"], timeout=1)) == [b"two", b"b", 3.0]
    if MODERN:
        assert r.zrangestore("top", "sum", 0, 1) == 2
        assert r.zdiff(["one", "two"]) == [b"a", b"b"]
        assert r.zinter(["sum", "one"]) == [b"a", b"b"]


@check_in_one_place
def other_commands_over_names_of_any_kind(r):
    assert r.msetnx({"x": 1, "y": 2}) in (True, 1)
    assert r.msetnx({"y": 1, "z": 2}) in (False, 0)
    assert r.rename("x", "renamed") is True
    assert r.renamenx("renamed", "y") in (False, 0)
    r.pfadd("p1", "a", "b")
    r.pfadd("p2", "b", "c")
    assert r.pfmerge("p3", "p1", "p2") is True and r.pfcount("p1", "p2") == 3
    assert r.bitop("OR", "bits", "renamed", "y") == 1
    assert r.eval("return redis.call('MGET', KEYS[1], 'y')", 1, "renamed") == [b"1", b"2"]
    script = r.register_script("redis.call('SET', 'made:' .. ARGV[1], redis.call('GET', KEYS[1])) return redis.call('KEYS', 'made:*')")
    assert script(keys=["y"], args=["up"]) == [b"made:up"]
    assert sorted(r.keys("p*")) == [b"p1", b"p2", b"p3"]
    assert sorted(r.scan_iter(match="made:*")) == [b"made:up"]
    with r.lock("lock", timeout=5) as lock:
        assert lock.owned() and not another(r).lock("lock").acquire(blocking=False)
