"""redis-py and valkey-py with default settings, which know nothing of a cluster.

    python.py MODULE PORT      MODULE is redis or valkey

Ends with 1 when a check has failed.
"""

from harness import MODERN, check, connect, library, main, protocol_of

import python_sessions  # noqa: F401 (its checks register themselves)
import python_together  # noqa: F401


@check
def strings(r):
    assert r.set("s", "hello") is True
    assert r.get("s") == b"hello"
    assert r.get("missing") is None
    assert r.append("s", " world") == 11
    assert r.getrange("s", 0, 4) == b"hello"
    assert r.setrange("s", 0, "J") == 11
    assert r.strlen("s") == 11
    assert r.set("s", "x", nx=True) is None
    assert r.set("s", "y", xx=True, ex=100) is True
    assert 95 <= r.ttl("s") <= 100
    assert r.persist("s") is True
    assert r.incr("n") == 1
    assert r.incrby("n", 9) == 10
    assert r.decr("n", 3) == 7
    assert r.incrbyfloat("n", 0.5) == 7.5
    assert r.setnx("s", "z") is False
    assert r.getset("s", "z") == b"y"
    assert r.type("s") == b"string"
    assert r.exists("s") == 1
    assert r.rename("{s}a" if r.set("{s}a", 1) else "", "{s}b") is True
    if MODERN:
        assert r.getex("s", ex=50) == b"z"
        assert r.getdel("s") == b"z"
        assert r.copy("{s}b", "{s}c") is True


@check
def bytes_of_any_kind(r):
    every = bytes(range(256))
    r.set(every, every * 100)
    assert r.get(every) == every * 100
    large = b"\r\n\0" * (1 << 20)
    r.set("large", large)
    assert r.get("large") == large


@check
def bitmaps_and_bitfields(r):
    assert r.setbit("b", 7, 1) == 0
    assert r.getbit("b", 7) == 1
    assert r.bitcount("b") == 1
    assert r.bitpos("b", 1) == 7
    assert r.bitop("NOT", "{b}2", "{b}1") == 0
    assert r.bitfield("f").set("u8", 0, 255).get("u4", 0).incrby("i5", 100, 1).execute() == [0, 15, 1]


@check
def hyperloglogs(r):
    assert r.pfadd("{p}1", "a", "b", "c") == 1
    assert r.pfadd("{p}2", "c", "d") == 1
    assert r.pfcount("{p}1", "{p}2") == 4
    assert r.pfmerge("{p}3", "{p}1", "{p}2") is True
    assert r.pfcount("{p}3") == 4


@check
def hashes(r):
    assert r.hset("h", "a", "1") == 1
    r.hset("h", mapping={"b": "2", "c": "3"})
    assert r.hget("h", "a") == b"1"
    assert r.hgetall("h") == {b"a": b"1", b"b": b"2", b"c": b"3"}
    assert r.hgetall("missing") == {}
    assert r.hmget("h", "c", "missing", "a") == [b"3", None, b"1"]
    assert r.hincrby("h", "a", 4) == 5
    assert r.hincrbyfloat("h", "a", 0.5) == 5.5
    assert r.hkeys("h") == [b"a", b"b", b"c"]
    assert r.hvals("h") == [b"5.5", b"2", b"3"]
    assert r.hlen("h") == 3 and r.hexists("h", "b") and r.hstrlen("h", "a") == 3
    assert r.hdel("h", "a", "missing") == 1
    assert dict(r.hscan_iter("h")) == {b"b": b"2", b"c": b"3"}


@check
def lists(r):
    assert r.rpush("l", "a", "b", "c") == 3
    assert r.lpush("l", "z") == 4
    assert r.lrange("l", 0, -1) == [b"z", b"a", b"b", b"c"]
    assert r.lindex("l", 1) == b"a" and r.llen("l") == 4
    assert r.linsert("l", "BEFORE", "a", "A") == 5
    assert r.lset("l", 0, "Z") is True
    assert r.lrem("l", 1, "A") == 1
    assert r.ltrim("l", 0, 2) is True
    assert r.lpop("l") == b"Z" and r.rpop("l") == b"b"
    assert r.lpop("missing") is None
    r.rpush("{l}1", 3, 1, 2)
    assert r.rpoplpush("{l}1", "{l}2") == b"2"
    assert r.sort("{l}1") == [b"1", b"3"]
    if MODERN:
        assert r.lmove("{l}1", "{l}2", "LEFT", "RIGHT") == b"3"
        assert r.lpos("{l}2", "3") == 1


@check
def sets(r):
    assert r.sadd("{t}1", 1, 2, 3) == 3
    r.sadd("{t}2", 3, 4)
    assert set(r.smembers("{t}1")) == {b"1", b"2", b"3"}
    assert set(r.smembers("missing")) == set()
    assert r.sismember("{t}1", 2) in (1, True) and not r.sismember("{t}1", 9)
    assert set(r.sinter("{t}1", "{t}2")) == {b"3"}
    assert set(r.sunion("{t}1", "{t}2")) == {b"1", b"2", b"3", b"4"}
    assert set(r.sdiff("{t}1", "{t}2")) == {b"1", b"2"}
    assert r.sinterstore("{t}3", "{t}1", "{t}2") == 1
    assert r.smove("{t}1", "{t}2", 1)
    assert r.scard("{t}2") == 3 and r.srem("{t}2", 1, 9) == 1
    assert r.srandmember("{t}1") in (b"2", b"3")
    assert r.spop("{t}3") == b"3"
    assert set(r.sscan_iter("{t}1")) == {b"2", b"3"}


@check
def sorted_sets(r):
    assert r.zadd("{z}1", {"a": 1, "b": 2, "c": 3.5}) == 3
    assert r.zadd("{z}1", {"a": 9}, nx=True) == 0
    assert r.zadd("{z}1", {"a": 1}, incr=True) == 2.0
    r.zadd("{z}2", {"a": 10, "x": 20})
    # The libraries make tuples of pairs in RESP2 and lists in RESP3.
    pairs = lambda reply: [(member, score) for member, score in reply]
    assert r.zrange("{z}1", 0, -1) == [b"a", b"b", b"c"]
    assert pairs(r.zrange("{z}1", 0, -1, withscores=True)) == [(b"a", 2.0), (b"b", 2.0), (b"c", 3.5)]
    assert pairs(r.zrevrangebyscore("{z}1", "+inf", 3, withscores=True)) == [(b"c", 3.5)]
    assert r.zscore("{z}1", "c") == 3.5 and r.zscore("{z}1", "missing") is None
    assert r.zrank("{z}1", "b") == 1 and r.zrank("{z}1", "missing") is None
    assert r.zincrby("{z}1", 0.5, "b") == 2.5
    assert r.zcard("{z}1") == 3 and r.zcount("{z}1", 2, "(3.5") == 2
    assert r.zunionstore("{z}3", ["{z}1", "{z}2"]) == 4
    assert r.zinterstore("{z}4", {"{z}1": 2, "{z}2": 3}, aggregate="MAX") == 1
    assert r.zrangebylex("{z}3", "-", "+") is not None
    assert r.zpopmin("{z}3") in ([(b"b", 2.5)], [b"b", 2.5])
    assert dict(r.zscan_iter("{z}1")) == {b"a": 2.0, b"b": 2.5, b"c": 3.5}
    assert r.zrem("{z}1", "a", "missing") == 1
    if MODERN:
        assert r.zmscore("{z}1", ["b", "missing"]) == [2.5, None]
        assert sorted(r.zdiff(["{z}1", "{z}2"])) == [b"b", b"c"]


@check
def places(r):
    if MODERN:
        assert r.geoadd("g", (13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania")) == 2
        assert r.geosearch("g", longitude=15, latitude=37, radius=200, unit="km", sort="ASC") == [b"Catania", b"Palermo"]
    else:
        assert r.geoadd("g", 13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania") == 2
    assert abs(float(r.geodist("g", "Palermo", "Catania", "km")) - 166.2742) < 0.001
    hashes = [h.decode() if isinstance(h, bytes) else h for h in r.geohash("g", "Palermo")]
    assert hashes == ["sqc8b49rny0"]
    (longitude, latitude), missing = r.geopos("g", "Palermo", "missing")
    assert abs(longitude - 13.361389) < 0.0001 and abs(latitude - 38.115556) < 0.0001 and missing is None


@check
def streams_without_block(r):
    assert r.xadd("x", {"f": "1"}, id="1-1") == b"1-1"
    assert r.xadd("x", {"f": "2"}, id="2-1", maxlen=100, approximate=False) == b"2-1"
    assert r.xlen("x") == 2
    assert r.xrange("x") == [(b"1-1", {b"f": b"1"}), (b"2-1", {b"f": b"2"})]
    assert r.xrevrange("x", count=1) == [(b"2-1", {b"f": b"2"})]
    assert entries(r.xread({"x": "1-1"}), b"x") == [(b"2-1", {b"f": b"2"})]
    assert not r.xread({"x": "$"})
    assert r.xgroup_create("x", "STREAMS", id="0") is True
    assert len(entries(r.xreadgroup("STREAMS", "c1", {"x": ">"}), b"x")) == 2
    assert r.xpending("x", "STREAMS")["pending"] == 2
    assert r.xack("x", "STREAMS", "1-1") == 1
    assert r.xclaim("x", "STREAMS", "c2", 0, ["2-1"], justid=True) == [b"2-1"]
    assert r.xinfo_stream("x")["length"] == 2
    assert r.xinfo_groups("x")[0]["name"] == b"STREAMS"
    assert r.xdel("x", "1-1") == 1
    assert r.xtrim("x", maxlen=0, approximate=False) == 1
    assert r.xgroup_destroy("x", "STREAMS") in (1, True)


def entries(reply, stream):
    """What was read of one stream; the reply is a list of pairs in RESP2 and a map in RESP3."""
    if isinstance(reply, dict):
        [read] = reply[stream]
    else:
        [(name, read)] = reply
        assert name == stream
    return [(id, fields) for id, fields in read]


@check
def pipelines_over_many_slots(r):
    with r.pipeline(transaction=False) as pipe:
        for i in range(2000):
            pipe.set(f"k:{i}", i)
            pipe.get(f"k:{i}")
            pipe.hset(f"h:{i}", "f", i)
        replies = pipe.execute()
    assert replies == [reply for i in range(2000) for reply in (True, b"%d" % i, 1)]
    with r.pipeline(transaction=False) as pipe:
        pipe.set("s", "text").incr("s").get("s")
        ok, error, text = pipe.execute(raise_on_error=False)
    assert ok is True and isinstance(error, library.ResponseError) and text == b"text"


@check
def many_keys_of_many_slots(r):
    keys = [f"k:{i}" for i in range(1000)]
    assert r.mset({key: key for key in keys}) is True
    backwards = list(reversed(keys)) + ["missing"]
    assert r.mget(backwards) == [key.encode() for key in reversed(keys)] + [None]
    assert r.exists(*keys, "missing", "k:1") == 1001
    assert r.touch(*keys, "missing") == 1000
    assert r.delete(*keys[:400], "missing") == 400
    assert r.unlink(*keys) == 600
    assert r.dbsize() == 0


@check
def scanning(r):
    keys = {b"k:%d" % i for i in range(3000)}
    r.mset({key: 1 for key in keys})
    r.rpush("a list", 1)
    assert set(r.scan_iter(count=10)) == keys | {b"a list"}
    assert set(r.scan_iter(match="k:1*", count=1000)) == {key for key in keys if key.startswith(b"k:1")}
    assert set(r.keys("k:*")) == keys
    if MODERN:
        assert set(r.scan_iter(_type="list")) == {b"a list"}


@check
def scripts(r):
    assert r.eval("return {KEYS[1], ARGV[1], 7, false}", 1, "k", "v") == [b"k", b"v", 7, None]
    script = r.register_script("redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])")
    for i in range(200):
        assert script(keys=[f"k:{i}"], args=[i]) == b"%d" % i
    assert r.script_exists(script.sha) == [True]
    sha = r.script_load("return ARGV[1]")
    assert r.evalsha(sha, 1, "k", "there") == b"there"
    assert r.script_flush() is True
    assert r.script_exists(sha, script.sha) == [False, False]
    assert script(keys=["again"], args=["and again"]) == b"and again"
    with r.pipeline(transaction=False) as pipe:
        for i in range(50):
            script(keys=[f"p:{i}"], args=[i], client=pipe)
        assert pipe.execute() == [b"%d" % i for i in range(50)]
    try:
        r.evalsha("f" * 40, 0)
        raise AssertionError("an unknown script ran")
    except library.exceptions.NoScriptError:
        pass


@check
def errors_are_of_the_right_class(r):
    r.set("s", "text")
    for wrong in (lambda: r.lpush("s", 1), lambda: r.incr("s"), lambda: r.execute_command("NONESUCH")):
        try:
            wrong()
            raise AssertionError("no error")
        except library.ResponseError:
            pass
    assert r.get("s") == b"text", "the connection goes on"


@check
def the_face_of_a_server(r):
    assert r.ping() is True
    assert r.echo("hello") == b"hello"
    assert r.client_setname("me") is True
    assert r.client_getname() in (b"me", "me")
    assert r.client_id() > 0
    info = r.info()
    assert info["role"] == "master" and info["cluster_enabled"] == 0
    assert r.config_get("maxmemory") == {"maxmemory": "0"}
    assert r.config_set("slowlog-max-len", "128") is True
    assert len(r.time()) == 2


@check
def settings_of_the_client(r):
    protocol = protocol_of(r)
    text = connect(protocol, decode_responses=True, client_name="named")
    text.set("k", "ü")
    assert text.get("k") == "ü"
    assert text.client_getname() == "named"
    assert connect(protocol, db=0, socket_timeout=5, health_check_interval=1).get("k") == "ü".encode()


main()
