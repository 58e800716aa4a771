//! The rows: every command and subcommand of Redis 7.0 to 8.10 and Valkey 8.0 to 9.1.
//!
//! How to read one:
//! `row("mset", -3, &[ow(1).to(-1).step(2)], W | OOM).split(KeyValues, AllSucceeded)`
//! takes at least three arguments, the name included (`-3`); its keys are overwritten (`ow`) and are every
//! second argument from 1 to the last (-1); it writes and is refused when memory is short; it may be split
//! by slot, and has succeeded when all parts have. A row that says nothing of where it goes goes to the
//! owner of its keys' slot, or to any primary if it takes no keys.
//!
//! How a command is added: one line in its group, sorted by name, a container before its subcommands.
//! Arity and flags are those of Valkey 8.0, of later versions what is new there; where the arity differs,
//! the most permissive one. `tests/command_table.rs` compares all of it with live servers.

use super::{
    Access, Begin, Client, Connection, Counts, Find, Flags, KeySpec, Local, Merge, Names, Refuse,
    Route, Row, Script, Split, Subscription,
};
use Merge::*;
use Names::*;
use Split::*;

/// All rows, by group.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    GROUPS.iter().flat_map(|(_, rows)| *rows)
}

/// What each group is called, and its rows.
pub static GROUPS: &[(&str, &[Row])] = &[
    ("Keys of any type", GENERIC),
    ("Strings", STRING),
    ("Lists", LIST),
    ("Sets", SET),
    ("Sorted sets", SORTED_SET),
    ("Hashes", HASH),
    ("Streams", STREAM),
    ("Bitmaps", BITMAP),
    ("HyperLogLogs", HYPERLOGLOG),
    ("Geospatial", GEO),
    ("Arrays", ARRAY),
    ("Vector sets", VECTOR_SET),
    ("JSON", JSON),
    ("Publish and subscribe", PUBSUB),
    ("Transactions", TRANSACTIONS),
    ("Scripts and functions", SCRIPTING),
    ("Connections", CONNECTION),
    ("Servers", SERVER),
    ("Clusters", CLUSTER),
    ("No commands", CROSS_PROTOCOL),
];

/// Keys of any type.
#[rustfmt::skip]
static GENERIC: &[Row] = &[
    row("copy",            -3, &[ro(1), ow(2)],      W | OOM).naming(Copied),
    row("del",             -2, &[rm(1).to(-1)],      W).split(Keys, Sum),
    row("dump",             2, &[ro(1)],             R),
    row("exists",          -2, &[ro(1).to(-1)],      R | FAST).split(Keys, Sum),
    row("expire",          -3, &[rw(1)],             W | FAST),
    row("expireat",        -3, &[rw(1)],             W | FAST),
    row("expiretime",       2, &[ro(1)],             R | FAST),
    row("keys",             2, &[],                  R).all_primaries(Concat).naming(Found),
    row("migrate",         -6, &[MIGRATE_KEYS],      W).refuse(Refuse::DataMove),
    row("move",             3, &[rw(1)],             W | FAST),
    row("object",          -2, &[],                  PARENT),
    row("object|encoding",  3, &[ro(2)],             R),
    row("object|freq",      3, &[ro(2)],             R),
    row("object|help",      2, &[],                  ALWAYS),
    row("object|idletime",  3, &[ro(2)],             R),
    row("object|refcount",  3, &[ro(2)],             R),
    row("persist",          2, &[rw(1)],             W | FAST),
    row("pexpire",         -3, &[rw(1)],             W | FAST),
    row("pexpireat",       -3, &[rw(1)],             W | FAST),
    row("pexpiretime",      2, &[ro(1)],             R | FAST),
    row("pttl",             2, &[ro(1)],             R | FAST),
    row("randomkey",        1, &[],                  R).all_primaries(RandomNonNull).naming(One),
    row("rename",           3, &[rw(1), ow(2)],      W),
    row("renamenx",         3, &[rw(1), ow(2)],      W | FAST),
    row("restore",         -4, &[ow(1)],             W | OOM),
    row("scan",            -2, &[],                  R).scan().naming(Scanned),
    row("sort",            -2, &[ro(1), SORT_STORE], W | OOM).naming(Patterns),
    row("sort_ro",         -2, &[ro(1)],             R).naming(Patterns),
    row("touch",           -2, &[ro(1).to(-1)],      R | FAST).split(Keys, Sum),
    row("ttl",              2, &[ro(1)],             R | FAST),
    row("type",             2, &[ro(1)],             R | FAST),
    row("unlink",          -2, &[rm(1).to(-1)],      W | FAST).split(Keys, Sum),
    row("wait",             3, &[],                  BLOCK).leased(Connection::Wait).merge(Min),
    row("waitaof",          4, &[],                  BLOCK).leased(Connection::Wait).merge(MinEach),
];

/// Strings.
#[rustfmt::skip]
static STRING: &[Row] = &[
    row("append",       3, &[rw(1)],                   W | FAST | OOM),
    row("decr",         2, &[rw(1)],                   W | FAST | OOM),
    row("decrby",       3, &[rw(1)],                   W | FAST | OOM),
    row("delex",       -2, &[rw(1)],                   W | FAST),
    row("delifeq",      3, &[rm(1)],                   W | FAST),
    row("digest",       2, &[ro(1)],                   R),
    row("get",          2, &[ro(1)],                   R | FAST),
    row("getdel",       2, &[rw(1)],                   W | FAST),
    row("getex",       -2, &[rw(1)],                   W | FAST),
    row("getrange",     4, &[ro(1)],                   R),
    row("getset",       3, &[rw(1)],                   W | FAST | OOM),
    row("incr",         2, &[rw(1)],                   W | FAST | OOM),
    row("incrby",       3, &[rw(1)],                   W | FAST | OOM),
    row("incrbyfloat",  3, &[rw(1)],                   W | FAST | OOM),
    row("increx",      -2, &[rw(1)],                   W | FAST | OOM),
    row("lcs",         -3, &[ro(1).to(1)],             R),
    row("mget",        -2, &[ro(1).to(-1)],            R | FAST).split(Keys, KeyOrder),
    row("mset",        -3, &[ow(1).to(-1).step(2)],    W | OOM).split(KeyValues, AllSucceeded),
    row("msetex",      -4, &[ow(1).counted().step(2)], W | OOM),
    row("msetnx",      -3, &[ow(1).to(-1).step(2)],    W | OOM),
    row("psetex",       4, &[ow(1)],                   W | OOM),
    row("set",         -3, &[rw(1)],                   W | OOM),
    row("setex",        4, &[ow(1)],                   W | OOM),
    row("setnx",        3, &[ow(1)],                   W | FAST | OOM),
    row("setrange",     4, &[rw(1)],                   W | OOM),
    row("strlen",       2, &[ro(1)],                   R | FAST),
    row("substr",       4, &[ro(1)],                   R),
];

/// Lists.
#[rustfmt::skip]
static LIST: &[Row] = &[
    row("blmove",      6, &[rw(1), rw(2)],    W | OOM | BLOCK).leased(Connection::Blocking),
    row("blmovem",    -6, &[rw(1), rw(2)],    W | OOM | BLOCK).leased(Connection::Blocking),
    row("blmpop",     -5, &[rw(2).counted()], W | BLOCK).leased(Connection::Blocking).naming(First),
    row("blpop",      -3, &[rw(1).to(-2)],    W | BLOCK).leased(Connection::Blocking).naming(First),
    row("brpop",      -3, &[rw(1).to(-2)],    W | BLOCK).leased(Connection::Blocking).naming(First),
    row("brpoplpush",  4, &[rw(1), rw(2)],    W | OOM | BLOCK).leased(Connection::Blocking),
    row("lindex",      3, &[ro(1)],           R),
    row("linsert",     5, &[rw(1)],           W | OOM),
    row("llen",        2, &[ro(1)],           R | FAST),
    row("lmove",       5, &[rw(1), rw(2)],    W | OOM),
    row("lmovem",     -5, &[rw(1), rw(2)],    W | OOM),
    row("lmpop",      -4, &[rw(1).counted()], W).naming(First),
    row("lpop",       -2, &[rw(1)],           W | FAST),
    row("lpos",       -3, &[ro(1)],           R),
    row("lpush",      -3, &[rw(1)],           W | FAST | OOM),
    row("lpushx",     -3, &[rw(1)],           W | FAST | OOM),
    row("lrange",      4, &[ro(1)],           R),
    row("lrem",        4, &[rw(1)],           W),
    row("lset",        4, &[rw(1)],           W | OOM),
    row("ltrim",       4, &[rw(1)],           W),
    row("rpop",       -2, &[rw(1)],           W | FAST),
    row("rpoplpush",   3, &[rw(1), rw(2)],    W | OOM),
    row("rpush",      -3, &[rw(1)],           W | FAST | OOM),
    row("rpushx",     -3, &[rw(1)],           W | FAST | OOM),
];

/// Sets.
#[rustfmt::skip]
static SET: &[Row] = &[
    row("sadd",        -3, &[rw(1)],               W | FAST | OOM),
    row("scard",        2, &[ro(1)],               R | FAST),
    row("sdiff",       -2, &[ro(1).to(-1)],        R),
    row("sdiffcard",   -3, &[ro(1).counted()],     R),
    row("sdiffstore",  -3, &[ow(1), ro(2).to(-1)], W | OOM),
    row("sinter",      -2, &[ro(1).to(-1)],        R),
    row("sintercard",  -3, &[ro(1).counted()],     R),
    row("sinterstore", -3, &[ow(1), ro(2).to(-1)], W | OOM),
    row("sismember",    3, &[ro(1)],               R | FAST),
    row("smembers",     2, &[ro(1)],               R),
    row("smismember",  -3, &[ro(1)],               R | FAST),
    row("smove",        4, &[rw(1), rw(2)],        W | FAST),
    row("spop",        -2, &[rw(1)],               W | FAST),
    row("srandmember", -2, &[ro(1)],               R),
    row("srem",        -3, &[rw(1)],               W | FAST),
    row("sscan",       -3, &[ro(1)],               R),
    row("sunion",      -2, &[ro(1).to(-1)],        R),
    row("sunioncard",  -3, &[ro(1).counted()],     R),
    row("sunionstore", -3, &[ow(1), ro(2).to(-1)], W | OOM),
];

/// Sorted sets.
#[rustfmt::skip]
static SORTED_SET: &[Row] = &[
    row("bzmpop",           -5, &[rw(2).counted()],        W | BLOCK).leased(Connection::Blocking).naming(First),
    row("bzpopmax",         -3, &[rw(1).to(-2)],           W | FAST | BLOCK).leased(Connection::Blocking).naming(First),
    row("bzpopmin",         -3, &[rw(1).to(-2)],           W | FAST | BLOCK).leased(Connection::Blocking).naming(First),
    row("zadd",             -4, &[rw(1)],                  W | FAST | OOM),
    row("zcard",             2, &[ro(1)],                  R | FAST),
    row("zcount",            4, &[ro(1)],                  R | FAST),
    row("zdiff",            -3, &[ro(1).counted()],        R),
    row("zdiffstore",       -4, &[ow(1), ro(2).counted()], W | OOM),
    row("zincrby",           4, &[rw(1)],                  W | FAST | OOM),
    row("zinter",           -3, &[ro(1).counted()],        R),
    row("zintercard",       -3, &[ro(1).counted()],        R),
    row("zinterstore",      -4, &[ow(1), ro(2).counted()], W | OOM),
    row("zlexcount",         4, &[ro(1)],                  R | FAST),
    row("zmpop",            -4, &[rw(1).counted()],        W).naming(First),
    row("zmscore",          -3, &[ro(1)],                  R | FAST),
    row("zpopmax",          -2, &[rw(1)],                  W | FAST),
    row("zpopmin",          -2, &[rw(1)],                  W | FAST),
    row("zrandmember",      -2, &[ro(1)],                  R),
    row("zrange",           -4, &[ro(1)],                  R),
    row("zrangebylex",      -4, &[ro(1)],                  R),
    row("zrangebyscore",    -4, &[ro(1)],                  R),
    row("zrangestore",      -5, &[ow(1), ro(2)],           W | OOM),
    row("zrank",            -3, &[ro(1)],                  R | FAST),
    row("zrem",             -3, &[rw(1)],                  W | FAST),
    row("zremrangebylex",    4, &[rw(1)],                  W),
    row("zremrangebyrank",   4, &[rw(1)],                  W),
    row("zremrangebyscore",  4, &[rw(1)],                  W),
    row("zrevrange",        -4, &[ro(1)],                  R),
    row("zrevrangebylex",   -4, &[ro(1)],                  R),
    row("zrevrangebyscore", -4, &[ro(1)],                  R),
    row("zrevrank",         -3, &[ro(1)],                  R | FAST),
    row("zscan",            -3, &[ro(1)],                  R),
    row("zscore",            3, &[ro(1)],                  R | FAST),
    row("zunion",           -3, &[ro(1).counted()],        R),
    row("zunionstore",      -4, &[ow(1), ro(2).counted()], W | OOM),
];

/// Hashes.
#[rustfmt::skip]
static HASH: &[Row] = &[
    row("hdel",               -3, &[rw(1)], W | FAST),
    row("hexists",             3, &[ro(1)], R | FAST),
    row("hexpire",            -6, &[rw(1)], W | FAST),
    row("hexpireat",          -6, &[rw(1)], W | FAST),
    row("hexpiretime",        -5, &[ro(1)], R | FAST),
    row("hget",                3, &[ro(1)], R | FAST),
    row("hgetall",             2, &[ro(1)], R),
    row("hgetdel",            -5, &[rw(1)], W | FAST),
    row("hgetex",             -5, &[rw(1)], W | FAST),
    row("himport",            -2, &[],      PARENT).leased(Connection::HashImport),
    row("himport|discard",     3, &[],      NONE).leased(Connection::HashImport),
    row("himport|discardall",  2, &[],      NONE).leased(Connection::HashImport),
    row("himport|prepare",    -4, &[],      OOM).leased(Connection::HashImport),
    row("himport|set",        -5, &[ow(2)], W | OOM).leased(Connection::HashImport),
    row("hincrby",             4, &[rw(1)], W | FAST | OOM),
    row("hincrbyfloat",        4, &[rw(1)], W | FAST | OOM),
    row("hkeys",               2, &[ro(1)], R),
    row("hlen",                2, &[ro(1)], R | FAST),
    row("hmget",              -3, &[ro(1)], R | FAST),
    row("hmset",              -4, &[rw(1)], W | FAST | OOM),
    row("hpersist",           -5, &[rw(1)], W | FAST),
    row("hpexpire",           -6, &[rw(1)], W | FAST),
    row("hpexpireat",         -6, &[rw(1)], W | FAST),
    row("hpexpiretime",       -5, &[ro(1)], R | FAST),
    row("hpttl",              -5, &[ro(1)], R | FAST),
    row("hrandfield",         -2, &[ro(1)], R),
    row("hscan",              -3, &[ro(1)], R),
    row("hset",               -4, &[rw(1)], W | FAST | OOM),
    row("hsetex",             -6, &[rw(1)], W | FAST | OOM),
    row("hsetnx",              4, &[rw(1)], W | FAST | OOM),
    row("hstrlen",             3, &[ro(1)], R | FAST),
    row("httl",               -5, &[ro(1)], R | FAST),
    row("hvals",               2, &[ro(1)], R),
];

/// Streams.
#[rustfmt::skip]
static STREAM: &[Row] = &[
    row("xack",                  -4, &[rw(1)],                           W | FAST),
    row("xackdel",               -6, &[rw(1)],                           W | FAST),
    row("xadd",                  -5, &[rw(1)],                           W | FAST | OOM),
    row("xautoclaim",            -6, &[rw(1)],                           W | FAST),
    row("xcfgset",               -2, &[rw(1)],                           W | FAST),
    row("xclaim",                -6, &[rw(1)],                           W | FAST),
    row("xdel",                  -3, &[rw(1)],                           W | FAST),
    row("xdelex",                -5, &[rw(1)],                           W | FAST),
    row("xgroup",                -2, &[],                                PARENT),
    row("xgroup|create",         -5, &[rw(2)],                           W | OOM),
    row("xgroup|createconsumer",  5, &[rw(2)],                           W | OOM),
    row("xgroup|delconsumer",     5, &[rw(2)],                           W),
    row("xgroup|destroy",         4, &[rw(2)],                           W),
    row("xgroup|help",            2, &[],                                ALWAYS),
    row("xgroup|setid",          -5, &[rw(2)],                           W),
    row("xidmprecord",           -2, &[rw(1)],                           W),
    row("xinfo",                 -2, &[],                                PARENT),
    row("xinfo|consumers",        4, &[ro(2)],                           R),
    row("xinfo|groups",           3, &[ro(2)],                           R),
    row("xinfo|help",             2, &[],                                ALWAYS),
    row("xinfo|stream",          -3, &[ro(2)],                           R),
    row("xlen",                   2, &[ro(1)],                           R | FAST),
    row("xnack",                 -7, &[rw(1)],                           W | FAST),
    row("xpending",              -3, &[ro(1)],                           R),
    row("xrange",                -4, &[ro(1)],                           R),
    row("xread",                 -4, &[ro_after("STREAMS", 1).to(-1).half()], R | BLOCK).naming(Streams),
    row("xreadgroup",            -7, &[ro_after("STREAMS", 4).to(-1).half()], W | BLOCK).naming(Streams),
    row("xrevrange",             -4, &[ro(1)],                           R),
    row("xsetid",                -3, &[rw(1)],                           W | FAST | OOM),
    row("xtrim",                 -4, &[rw(1)],                           W),
];

/// Bitmaps.
#[rustfmt::skip]
static BITMAP: &[Row] = &[
    row("bitcount",    -2, &[ro(1)],               R),
    row("bitfield",    -2, &[rw(1)],               W | OOM),
    row("bitfield_ro", -2, &[ro(1)],               R | FAST),
    row("bitop",       -4, &[ow(2), ro(3).to(-1)], W | OOM),
    row("bitpos",      -3, &[ro(1)],               R),
    row("getbit",       3, &[ro(1)],               R | FAST),
    row("setbit",       4, &[rw(1)],               W | OOM),
];

/// HyperLogLogs.
#[rustfmt::skip]
static HYPERLOGLOG: &[Row] = &[
    row("pfadd",      -2, &[rw(1)],               W | FAST | OOM),
    row("pfcount",    -2, &[rw(1).to(-1)],        R),
    row("pfdebug",     3, &[rw(2)],               W | OOM | ADMIN).refuse(Refuse::NodeControl),
    row("pfmerge",    -2, &[rw(1), ro(2).to(-1)], W | OOM),
    row("pfselftest",  1, &[],                    ADMIN).refuse(Refuse::NodeControl),
];

/// Places.
#[rustfmt::skip]
static GEO: &[Row] = &[
    row("geoadd",               -5, &[rw(1)],            W | OOM),
    row("geodist",              -4, &[ro(1)],            R),
    row("geohash",              -2, &[ro(1)],            R),
    row("geopos",               -2, &[ro(1)],            R),
    row("georadius",            -6, &[ro(1), GEO_STORE], W | OOM),
    row("georadius_ro",         -6, &[ro(1)],            R),
    row("georadiusbymember",    -5, &[ro(1), GEO_STORE], W | OOM),
    row("georadiusbymember_ro", -5, &[ro(1)],            R),
    row("geosearch",            -7, &[ro(1)],            R),
    row("geosearchstore",       -8, &[ow(1), ro(2)],     W | OOM),
];

/// Arrays (Redis 8.8).
#[rustfmt::skip]
static ARRAY: &[Row] = &[
    row("arcount",      2, &[ro(1)], R),
    row("ardel",       -3, &[rw(1)], W),
    row("ardelrange",  -4, &[rw(1)], W),
    row("arget",       -3, &[ro(1)], R),
    row("argetrange",  -4, &[ro(1)], R),
    row("argrep",      -4, &[ro(1)], R),
    row("arinfo",      -2, &[ro(1)], R),
    row("arinsert",    -3, &[rw(1)], W | OOM),
    row("arlastitems", -3, &[ro(1)], R),
    row("arlen",        2, &[ro(1)], R),
    row("armget",      -3, &[ro(1)], R),
    row("armset",      -4, &[rw(1)], W | OOM),
    row("arnext",      -2, &[ro(1)], R),
    row("arop",        -5, &[ro(1)], R),
    row("arring",      -4, &[rw(1)], W | OOM),
    row("arscan",      -4, &[ro(1)], R),
    row("arseek",      -3, &[rw(1)], W),
    row("arset",       -4, &[rw(1)], W | OOM),
];

/// Vector sets (Redis 8.0; a module in the server's eyes).
#[rustfmt::skip]
static VECTOR_SET: &[Row] = &[
    row("vadd",        -1, &[rw(1)], W | OOM),
    row("vcard",       -1, &[ro(1)], R | FAST),
    row("vdim",        -1, &[ro(1)], R | FAST),
    row("vemb",        -1, &[ro(1)], R | FAST),
    row("vgetattr",    -1, &[ro(1)], R | FAST),
    row("vinfo",       -1, &[ro(1)], R | FAST),
    row("vismember",   -1, &[ro(1)], R),
    row("vlinks",      -1, &[ro(1)], R | FAST),
    row("vrandmember", -1, &[ro(1)], R),
    row("vrange",      -1, &[ro(1)], R),
    row("vrem",        -1, &[rw(1)], W),
    row("vsetattr",    -1, &[rw(1)], W | FAST),
    row("vsim",        -1, &[ro(1)], R),
];

/// Modules that a key specification alone cannot split; the rest is learnt from the node.
#[rustfmt::skip]
static JSON: &[Row] = &[
    row("json.mget", -3, &[ro(1).to(-2)],         R).split(KeysThenLast, KeyOrder),
    row("json.mset", -4, &[rw(1).to(-1).step(3)], W | OOM).split(Triples, AllSucceeded),
];

/// Publish and subscribe.
#[rustfmt::skip]
static PUBSUB: &[Row] = &[
    row("psubscribe",           -2, &[],                  CHANNELS | CALM).leased(Connection::Subscribe(Subscription::Pattern)).naming(ChannelPatterns),
    row("publish",               3, &[],                  FAST | CHANNELS | ALWAYS).merge(Receivers).counting(Counts::Receivers(Subscription::Channel)),
    row("pubsub",               -2, &[],                  PARENT),
    row("pubsub|channels",      -2, &[],                  CHANNELS | ALWAYS).all_primaries(ConcatDistinct),
    row("pubsub|help",           2, &[],                  ALWAYS),
    row("pubsub|numpat",         2, &[],                  CHANNELS | ALWAYS).all_primaries(Sum).counting(Counts::Patterns),
    row("pubsub|numsub",        -2, &[],                  CHANNELS | ALWAYS).all_primaries(MapSum).counting(Counts::Subscribers(Subscription::Channel)),
    row("pubsub|shardchannels", -2, &[],                  CHANNELS | ALWAYS).all_primaries(ConcatDistinct),
    row("pubsub|shardnumsub",   -2, &[],                  CHANNELS | ALWAYS).all_primaries(MapSum).counting(Counts::Subscribers(Subscription::Shard)),
    row("punsubscribe",         -1, &[],                  CHANNELS | CALM).leased(Connection::Unsubscribe(Subscription::Pattern)).naming(ChannelPatterns),
    row("spublish",              3, &[channel(1)],        FAST | CHANNELS | ALWAYS).counting(Counts::Receivers(Subscription::Shard)),
    row("ssubscribe",           -2, &[channel(1).to(-1)], CHANNELS | CALM).leased(Connection::Subscribe(Subscription::Shard)),
    row("subscribe",            -2, &[],                  CHANNELS | CALM).leased(Connection::Subscribe(Subscription::Channel)).naming(Channels),
    row("sunsubscribe",         -1, &[channel(1).to(-1)], CHANNELS | CALM).leased(Connection::Unsubscribe(Subscription::Shard)),
    row("unsubscribe",          -1, &[],                  CHANNELS | CALM).leased(Connection::Unsubscribe(Subscription::Channel)).naming(Channels),
];

/// Transactions.
#[rustfmt::skip]
static TRANSACTIONS: &[Row] = &[
    row("discard",  1, &[],             FAST | CALM).leased(Connection::Discard),
    row("exec",     1, &[],             CALM).leased(Connection::Exec),
    row("multi",    1, &[],             FAST | CALM).leased(Connection::Multi),
    row("unwatch",  1, &[],             FAST | CALM).leased(Connection::Unwatch),
    row("watch",   -2, &[ro(1).to(-1)], FAST | CALM).leased(Connection::Watch),
];

/// Scripts and functions.
#[rustfmt::skip]
static SCRIPTING: &[Row] = &[
    row("eval",             -3, &[rw(2).counted()], NOSCRIPT | STALE | SKIPMON).script(Script::Body(1)),
    row("eval_ro",          -3, &[ro(2).counted()], R | NOSCRIPT | STALE | SKIPMON).script(Script::Body(1)),
    row("evalsha",          -3, &[rw(2).counted()], NOSCRIPT | STALE | SKIPMON).script(Script::Sha(1)),
    row("evalsha_ro",       -3, &[ro(2).counted()], R | NOSCRIPT | STALE | SKIPMON).script(Script::Sha(1)),
    row("fcall",            -3, &[rw(2).counted()], NOSCRIPT | STALE | SKIPMON),
    row("fcall_ro",         -3, &[ro(2).counted()], R | NOSCRIPT | STALE | SKIPMON),
    row("function",         -2, &[],                PARENT),
    row("function|delete",   3, &[],                W | NOSCRIPT).all_primaries(AllSucceeded),
    row("function|dump",     2, &[],                NOSCRIPT),
    row("function|flush",   -2, &[],                W | NOSCRIPT).all_primaries(AllSucceeded),
    row("function|help",     2, &[],                ALWAYS),
    row("function|kill",     2, &[],                NOSCRIPT).all_primaries(OneSucceeded),
    row("function|list",    -2, &[],                NOSCRIPT).naming(Names::Library),
    row("function|load",    -3, &[],                W | OOM | NOSCRIPT).all_primaries(AllSucceeded).script(Script::Library),
    row("function|restore", -3, &[],                W | OOM | NOSCRIPT).all_primaries(AllSucceeded),
    row("function|stats",    2, &[],                NOSCRIPT).all_primaries(FunctionStats),
    row("script",           -2, &[],                PARENT),
    row("script|debug",     -3, &[],                NOSCRIPT).refuse(Refuse::ScriptDebug),
    row("script|exists",    -3, &[],                NOSCRIPT).all_primaries(AndEach).script(Script::Asks),
    row("script|flush",     -2, &[],                NOSCRIPT).all_nodes(AllSucceeded).script(Script::Flush),
    row("script|help",       2, &[],                ALWAYS),
    row("script|kill",       2, &[],                NOSCRIPT).all_primaries(OneSucceeded),
    row("script|load",       3, &[],                NOSCRIPT | STALE).all_nodes(AllSucceeded).script(Script::Body(2)).naming(Names::Script),
    row("script|show",       3, &[],                NOSCRIPT),
];

/// Connections.
#[rustfmt::skip]
static CONNECTION: &[Row] = &[
    row("auth",                 -2, &[], FAST | NOAUTH | CALM).local(Local::Auth),
    row("client",               -2, &[], PARENT).client(Client::Bare),
    row("client|caching",        3, &[], CALM).client(Client::Caching),
    row("client|capa",          -3, &[], CALM).client(Client::Capa),
    row("client|getname",        2, &[], CALM).client(Client::GetName),
    row("client|getredir",       2, &[], CALM).client(Client::GetRedir),
    row("client|help",           2, &[], ALWAYS).client(Client::Help),
    row("client|id",             2, &[], CALM).client(Client::Id),
    row("client|import-source",  3, &[], CALM).client(Client::ImportSource),
    row("client|info",           2, &[], CALM).client(Client::Info),
    row("client|kill",          -3, &[], ADMIN | CALM).client(Client::Kill),
    row("client|list",          -2, &[], ADMIN | CALM).client(Client::List),
    row("client|no-evict",       3, &[], ADMIN | CALM).client(Client::NoEvict),
    row("client|no-touch",       3, &[], CALM).client(Client::NoTouch),
    row("client|pause",         -3, &[], ADMIN | CALM).client(Client::Pause),
    row("client|reply",          3, &[], CALM).client(Client::Reply),
    row("client|setinfo",        4, &[], CALM).client(Client::SetInfo),
    row("client|setname",        3, &[], CALM).client(Client::SetName),
    row("client|tracking",      -3, &[], CALM).leased(Connection::Tracking),
    row("client|trackinginfo",   2, &[], CALM).client(Client::TrackingInfo),
    row("client|unblock",       -3, &[], ADMIN | CALM).client(Client::Unblock),
    row("client|unpause",        2, &[], ADMIN | CALM).client(Client::Unpause),
    row("echo",                  2, &[], FAST | ALWAYS).local(Local::Echo),
    row("hello",                -1, &[], FAST | NOAUTH | CALM).local(Local::Hello),
    row("ping",                 -1, &[], FAST).local(Local::Ping),
    row("quit",                 -1, &[], FAST | NOAUTH | CALM).local(Local::Quit),
    row("reset",                 1, &[], FAST | NOAUTH | CALM).local(Local::Reset),
    row("select",                2, &[], FAST | ALWAYS).local(Local::Select),
];

/// Servers.
#[rustfmt::skip]
static SERVER: &[Row] = &[
    row("acl",                     -2, &[],      PARENT),
    row("acl|cat",                 -2, &[],      CALM),
    row("acl|deluser",             -3, &[],      ADMIN | CALM).all_nodes(AllSucceeded),
    row("acl|dryrun",              -4, &[],      ADMIN | CALM),
    row("acl|genpass",             -2, &[],      CALM),
    row("acl|getuser",              3, &[],      ADMIN | CALM),
    row("acl|help",                 2, &[],      ALWAYS),
    row("acl|list",                 2, &[],      ADMIN | CALM),
    row("acl|load",                 2, &[],      ADMIN | CALM).all_nodes(AllSucceeded),
    row("acl|log",                 -2, &[],      ADMIN | CALM),
    row("acl|save",                 2, &[],      ADMIN | CALM).all_nodes(AllSucceeded),
    row("acl|setuser",             -3, &[],      ADMIN | CALM).all_nodes(AllSucceeded),
    row("acl|users",                2, &[],      ADMIN | CALM),
    row("acl|whoami",               2, &[],      CALM),
    row("backup",                  -2, &[],      PARENT).refuse(Refuse::NodeControl),
    row("backup|abort",            -2, &[],      ADMIN | NOSCRIPT).refuse(Refuse::NodeControl),
    row("backup|cleanup",          -2, &[],      ADMIN | NOSCRIPT).refuse(Refuse::NodeControl),
    row("backup|help",             -2, &[],      ALWAYS).refuse(Refuse::NodeControl),
    row("backup|list",             -2, &[],      ADMIN | NOSCRIPT).refuse(Refuse::NodeControl),
    row("backup|seal",             -2, &[],      ADMIN | NOSCRIPT).refuse(Refuse::NodeControl),
    row("backup|start",            -2, &[],      ADMIN | NOSCRIPT).refuse(Refuse::NodeControl),
    row("backup|status",           -2, &[],      ADMIN | NOSCRIPT).refuse(Refuse::NodeControl),
    row("bgrewriteaof",             1, &[],      ADMIN | NOSCRIPT).all_primaries(AllSucceeded),
    row("bgsave",                  -1, &[],      ADMIN | NOSCRIPT).all_primaries(AllSucceeded),
    row("command",                 -1, &[],      PARENT | ALWAYS),
    row("command|count",            2, &[],      ALWAYS),
    row("command|docs",            -2, &[],      ALWAYS),
    row("command|getkeys",         -3, &[],      ALWAYS),
    row("command|getkeysandflags", -3, &[],      ALWAYS),
    row("command|help",             2, &[],      ALWAYS),
    row("command|info",            -2, &[],      ALWAYS),
    row("command|list",            -2, &[],      ALWAYS),
    row("commandlog",              -2, &[],      PARENT),
    row("commandlog|get",           4, &[],      ADMIN | ALWAYS).all_nodes(Concat),
    row("commandlog|help",          2, &[],      ALWAYS),
    row("commandlog|len",           3, &[],      ADMIN | ALWAYS).all_nodes(Sum),
    row("commandlog|reset",         3, &[],      ADMIN | ALWAYS).all_nodes(AllSucceeded),
    row("config",                  -2, &[],      PARENT),
    row("config|get",              -3, &[],      ADMIN | CALM),
    row("config|help",              2, &[],      ALWAYS),
    row("config|resetstat",         2, &[],      ADMIN | CALM).all_nodes(AllSucceeded),
    row("config|rewrite",           2, &[],      ADMIN | CALM).all_nodes(AllSucceeded),
    row("config|set",              -4, &[],      ADMIN | CALM).all_nodes(AllSucceeded),
    row("dbsize",                   1, &[],      R | FAST).all_primaries(Sum),
    row("debug",                   -2, &[],      ADMIN | CALM).refuse(Refuse::NodeControl),
    row("failover",                -1, &[],      ADMIN | NOSCRIPT | STALE).refuse(Refuse::Replication),
    row("flushall",                -1, &[],      W).all_primaries(AllSucceeded),
    row("flushdb",                 -1, &[],      W).all_primaries(AllSucceeded),
    row("hotkeys",                 -2, &[],      PARENT),
    row("hotkeys|get",              2, &[],      ADMIN | NOSCRIPT).all_nodes(HotKeys),
    row("hotkeys|help",             2, &[],      ALWAYS),
    row("hotkeys|reset",            2, &[],      ADMIN | NOSCRIPT).all_nodes(AllSucceeded),
    row("hotkeys|start",           -2, &[],      ADMIN | NOSCRIPT).all_nodes(AllSucceeded),
    row("hotkeys|stop",             2, &[],      ADMIN | NOSCRIPT).all_nodes(AllSucceeded),
    row("info",                    -1, &[],      ALWAYS).all_primaries(Info),
    row("lastsave",                 1, &[],      FAST | ALWAYS).all_primaries(Min),
    row("latency",                 -2, &[],      PARENT),
    row("latency|doctor",           2, &[],      ADMIN | CALM).all_primaries(LatencyDoctor),
    row("latency|graph",            3, &[],      ADMIN | CALM).all_primaries(LatencyGraph),
    row("latency|help",             2, &[],      ALWAYS),
    row("latency|histogram",       -2, &[],      ADMIN | CALM).all_primaries(LatencyHistogram),
    row("latency|history",          3, &[],      ADMIN | CALM).all_primaries(LatencyHistory),
    row("latency|latest",           2, &[],      ADMIN | CALM).all_primaries(LatencyLatest),
    row("latency|reset",           -2, &[],      ADMIN | CALM).all_nodes(Sum),
    row("lolwut",                  -1, &[],      R | FAST),
    row("memory",                  -2, &[],      PARENT),
    row("memory|doctor",            2, &[],      NONE).all_primaries(MemoryDoctor),
    row("memory|help",              2, &[],      ALWAYS),
    row("memory|malloc-stats",      2, &[],      NONE).all_primaries(MemoryMallocStats),
    row("memory|purge",             2, &[],      NONE).all_primaries(AllSucceeded),
    row("memory|stats",             2, &[],      NONE).all_primaries(MemoryStats),
    row("memory|usage",            -3, &[ro(2)], R),
    row("module",                  -2, &[],      PARENT),
    row("module|help",              2, &[],      ALWAYS),
    row("module|list",              2, &[],      ADMIN | NOSCRIPT),
    row("module|load",             -3, &[],      ADMIN | NOSCRIPT).refuse(Refuse::Modules),
    row("module|loadex",           -3, &[],      ADMIN | NOSCRIPT).refuse(Refuse::Modules),
    row("module|unload",            3, &[],      ADMIN | NOSCRIPT).refuse(Refuse::Modules),
    row("monitor",                  1, &[],      ADMIN | CALM).leased(Connection::Monitor),
    row("psync",                   -3, &[],      ADMIN | NOSCRIPT | NOMULTI).refuse(Refuse::Replication),
    row("replconf",                -1, &[],      ADMIN | CALM).refuse(Refuse::Replication),
    row("replicaof",                3, &[],      ADMIN | NOSCRIPT | STALE).refuse(Refuse::Replication),
    row("restore-asking",          -4, &[ow(1)], W | OOM).refuse(Refuse::DataMove),
    row("role",                     1, &[],      FAST | CALM).local(Local::Role),
    row("save",                     1, &[],      ADMIN | NOSCRIPT | NOMULTI).all_primaries(AllSucceeded),
    row("sflush",                  -3, &[],      W).refuse(Refuse::DataMove),
    row("shutdown",                -1, &[],      ADMIN | NOMULTI | CALM).refuse(Refuse::NodeControl),
    row("slaveof",                  3, &[],      ADMIN | NOSCRIPT | STALE).refuse(Refuse::Replication),
    row("slowlog",                 -2, &[],      PARENT),
    row("slowlog|get",             -2, &[],      ADMIN | ALWAYS).all_nodes(SlowlogGet),
    row("slowlog|help",             2, &[],      ALWAYS),
    row("slowlog|len",              2, &[],      ADMIN | ALWAYS).all_nodes(Sum),
    row("slowlog|reset",            2, &[],      ADMIN | ALWAYS).all_nodes(AllSucceeded),
    row("swapdb",                   3, &[],      W | FAST).all_primaries(AllSucceeded),
    row("sync",                     1, &[],      ADMIN | NOSCRIPT | NOMULTI).refuse(Refuse::Replication),
    row("time",                     1, &[],      FAST | ALWAYS),
    row("trimslots",               -5, &[],      W).refuse(Refuse::DataMove),
];

/// Clusters.
#[rustfmt::skip]
static CLUSTER: &[Row] = &[
    row("asking",                         1, &[],           FAST).local(Local::Asking),
    row("cluster",                       -2, &[],           PARENT).local(Local::Cluster),
    row("cluster|addslots",              -3, &[],           ADMIN | STALE).local(Local::Cluster),
    row("cluster|addslotsrange",         -4, &[],           ADMIN | STALE).local(Local::Cluster),
    row("cluster|bumpepoch",              2, &[],           ADMIN | STALE).local(Local::Cluster),
    row("cluster|cancelslotmigrations",   2, &[],           ADMIN | STALE).local(Local::Cluster),
    row("cluster|count-failure-reports",  3, &[],           ADMIN | STALE).local(Local::Cluster),
    row("cluster|countkeysinslot",        3, &[],           STALE).local(Local::Cluster),
    row("cluster|delslots",              -3, &[],           ADMIN | STALE).local(Local::Cluster),
    row("cluster|delslotsrange",         -4, &[],           ADMIN | STALE).local(Local::Cluster),
    row("cluster|failover",              -2, &[],           ADMIN | STALE).local(Local::Cluster),
    row("cluster|flushslot",             -3, &[],           W | ADMIN).local(Local::Cluster),
    row("cluster|flushslots",             2, &[],           ADMIN | STALE).local(Local::Cluster),
    row("cluster|forget",                 3, &[],           ADMIN | STALE).local(Local::Cluster),
    row("cluster|getkeysinslot",          4, &[],           STALE).local(Local::Cluster),
    row("cluster|getslotmigrations",      2, &[],           ADMIN | STALE).local(Local::Cluster),
    row("cluster|help",                   2, &[],           ALWAYS).local(Local::Cluster),
    row("cluster|info",                   2, &[],           ALWAYS).local(Local::Cluster),
    row("cluster|keyslot",                3, &[],           STALE).local(Local::Cluster),
    row("cluster|links",                  2, &[],           STALE).local(Local::Cluster),
    row("cluster|meet",                  -4, &[],           ADMIN | STALE).local(Local::Cluster),
    row("cluster|migrateslots",          -4, &[],           ADMIN | STALE).local(Local::Cluster),
    row("cluster|migration",             -4, &[],           ADMIN | STALE).local(Local::Cluster),
    row("cluster|myid",                   2, &[],           ALWAYS).local(Local::Cluster),
    row("cluster|myshardid",              2, &[],           ALWAYS).local(Local::Cluster),
    row("cluster|nodes",                  2, &[],           ALWAYS).local(Local::Cluster),
    row("cluster|replicas",               3, &[],           ADMIN | STALE).local(Local::Cluster),
    row("cluster|replicate",             -3, &[],           ADMIN | STALE).local(Local::Cluster),
    row("cluster|reset",                 -2, &[],           ADMIN | NOSCRIPT | STALE).local(Local::Cluster),
    row("cluster|saveconfig",             2, &[],           ADMIN | STALE).local(Local::Cluster),
    row("cluster|set-config-epoch",       3, &[],           ADMIN | STALE).local(Local::Cluster),
    row("cluster|setslot",               -4, &[],           ADMIN | STALE).local(Local::Cluster),
    row("cluster|shards",                 2, &[],           ALWAYS).local(Local::Cluster),
    row("cluster|slaves",                 3, &[],           ADMIN | STALE).local(Local::Cluster),
    row("cluster|slot-stats",            -4, &[],           ALWAYS).local(Local::Cluster),
    row("cluster|slots",                  2, &[],           ALWAYS).local(Local::Cluster),
    row("cluster|syncslots",             -3, &[],           ADMIN | STALE).local(Local::Cluster),
    row("clusterscan",                   -2, &[channel(1)], R).local(Local::Cluster),
    row("readonly",                       1, &[],           FAST | ALWAYS).local(Local::ReadOnly),
    row("readwrite",                      1, &[],           FAST | ALWAYS).local(Local::ReadWrite),
];

/// No commands: what a browser sends that was lured to this port.
#[rustfmt::skip]
static CROSS_PROTOCOL: &[Row] = &[
    row("host:", -1, &[], NONE).refuse(Refuse::CrossProtocol),
    row("post",  -1, &[], NONE).refuse(Refuse::CrossProtocol),
];

// The words of a row. Flags are bits, because only those can be or-ed in a constant.

const NONE: u16 = 0;
const W: u16 = Flags::WRITE.bits();
const R: u16 = Flags::READ.bits();
const FAST: u16 = Flags::FAST.bits();
const OOM: u16 = Flags::DENYOOM.bits();
const ADMIN: u16 = Flags::ADMIN.bits();
const BLOCK: u16 = Flags::BLOCKING.bits();
const CHANNELS: u16 = Flags::PUBSUB.bits();
const NOSCRIPT: u16 = Flags::NOSCRIPT.bits();
const NOMULTI: u16 = Flags::NO_MULTI.bits();
const LOADING: u16 = Flags::LOADING.bits();
const STALE: u16 = Flags::STALE.bits();
const NOAUTH: u16 = Flags::NO_AUTH.bits();
const SKIPMON: u16 = Flags::SKIP_MONITOR.bits();
/// Has subcommands.
const PARENT: u16 = Flags::CONTAINER.bits();
/// Whatever state the node is in.
const ALWAYS: u16 = LOADING | STALE;
/// The same, but not from scripts.
const CALM: u16 = ALWAYS | NOSCRIPT;

const SORT_STORE: KeySpec = key(Begin::SortStore, Access::Overwrite);
const GEO_STORE: KeySpec = key(Begin::GeoStore, Access::Overwrite);
const MIGRATE_KEYS: KeySpec = key(Begin::MigrateKeys, Access::ReadWrite);

const fn row(name: &'static str, arity: i16, keys: &'static [KeySpec], flags: u16) -> Row {
    Row::new(name, arity, keys, Flags::from_bits_retain(flags))
}

/// A key that is read.
const fn ro(at: u16) -> KeySpec {
    key(Begin::Index(at), Access::Read)
}

/// A key that is read and written.
const fn rw(at: u16) -> KeySpec {
    key(Begin::Index(at), Access::ReadWrite)
}

/// A key that is overwritten.
const fn ow(at: u16) -> KeySpec {
    key(Begin::Index(at), Access::Overwrite)
}

/// A key that is removed.
const fn rm(at: u16) -> KeySpec {
    key(Begin::Index(at), Access::Remove)
}

/// A shard channel: no key, but routed like one.
const fn channel(at: u16) -> KeySpec {
    key(Begin::Index(at), Access::NotKey)
}

/// A key that is read, after a word that is searched from an argument on.
const fn ro_after(word: &'static str, from: i16) -> KeySpec {
    key(Begin::Keyword { word, from }, Access::Read)
}

/// The one argument at the beginning.
const fn key(begin: Begin, access: Access) -> KeySpec {
    let find = Find::Range {
        last: 0,
        step: 1,
        limit: 0,
    };
    KeySpec {
        begin,
        find,
        access,
    }
}

impl KeySpec {
    /// All up to `last`.
    const fn to(self, last: i32) -> Self {
        let find = Find::Range {
            last,
            step: 1,
            limit: 0,
        };
        Self { find, ..self }
    }

    /// Only every `step`-th of them.
    const fn step(self, step: u16) -> Self {
        let find = match self.find {
            Find::Range { last, limit, .. } => Find::Range { last, step, limit },
            Find::KeyNum {
                count_at, first, ..
            } => Find::KeyNum {
                count_at,
                first,
                step,
            },
        };
        Self { find, ..self }
    }

    /// Only the first half of them: `STREAMS key key id id`.
    const fn half(self) -> Self {
        let find = Find::Range {
            last: -1,
            step: 1,
            limit: 2,
        };
        Self { find, ..self }
    }

    /// First their number, then that many keys.
    const fn counted(self) -> Self {
        let find = Find::KeyNum {
            count_at: 0,
            first: 1,
            step: 1,
        };
        Self { find, ..self }
    }
}

impl Row {
    const fn to(self, route: Route, merge: Merge, shape: Option<Split>) -> Self {
        let changes_session = matches!(
            route,
            Route::Local(Local::Auth | Local::Hello | Local::Select)
                | Route::Connection(Connection::Watch)
        );
        Self {
            route,
            merge,
            shape,
            is_overheard: changes_session || self.is_overheard,
            ..self
        }
    }

    const fn split(self, shape: Split, merge: Merge) -> Self {
        self.to(Route::Split, merge, Some(shape)).without_only_key()
    }

    const fn all_primaries(self, merge: Merge) -> Self {
        self.to(Route::AllPrimaries, merge, None)
    }

    const fn all_nodes(self, merge: Merge) -> Self {
        self.to(Route::AllNodes, merge, None)
    }

    const fn scan(self) -> Self {
        self.to(Route::Scan, AsIs, None)
    }

    const fn local(self, answer: Local) -> Self {
        self.to(Route::Local(answer), AsIs, None)
    }

    const fn client(self, what: Client) -> Self {
        self.local(Local::Client(what))
    }

    const fn leased(self, what: Connection) -> Self {
        self.to(Route::Connection(what), AsIs, None)
    }

    const fn merge(self, merge: Merge) -> Self {
        Self { merge, ..self }
    }

    const fn script(self, script: Script) -> Self {
        Self { script, ..self }
    }

    const fn counting(self, counts: Counts) -> Self {
        Self {
            counts: Some(counts),
            is_overheard: true,
            ..self
        }
    }

    const fn naming(self, names: Names) -> Self {
        let in_answer = matches!(
            names,
            Found | Scanned | One | First | Streams | Names::Script | Names::Library
        );
        Self {
            names: Some(names),
            is_overheard: in_answer || self.is_overheard,
            ..self
        }
    }

    const fn refuse(self, why: Refuse) -> Self {
        self.to(Route::Refuse(why), AsIs, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sound() {
        for row in rows() {
            let name = row.name;
            assert_eq!(name, name.to_ascii_lowercase());
            assert!(row.arity != 0, "{name}");
            assert_eq!(row.shape.is_some(), row.route == Route::Split, "{name}");
            let several = matches!(
                row.route,
                Route::AllNodes | Route::AllPrimaries | Route::Split
            );
            let waits = matches!(row.route, Route::Connection(Connection::Wait));
            let asks_around = row.merge == Receivers;
            assert_eq!(row.merge != AsIs, several || waits || asks_around, "{name}");
            assert!(!row.flags.contains(Flags::READ | Flags::WRITE), "{name}");
            let is_leased = matches!(row.route, Route::Connection(_));
            let has_keyword = matches!(
                row.keys,
                [KeySpec {
                    begin: Begin::Keyword { .. },
                    ..
                }]
            );
            let waits = row.flags.contains(Flags::BLOCKING);
            assert!(!waits || is_leased || has_keyword, "{name} would block");
        }
    }

    #[test]
    fn the_arity_promises_the_only_key_except_of_modules() {
        for row in rows().filter(|row| row.arity != -1) {
            if let Some(at) = row.first_key() {
                assert!(at < usize::from(row.arity.unsigned_abs()), "{}", row.name);
            }
        }
    }

    #[test]
    fn groups_are_sorted_and_containers_have_subcommands() {
        for (_, group) in GROUPS {
            let names: Vec<Vec<&str>> = group
                .iter()
                .map(|row| row.name.split('|').collect())
                .collect();
            assert!(names.is_sorted(), "{:?}", names.first());
            for row in *group {
                let prefix = format!("{}|", row.name);
                let has_subs = rows().any(|other| other.name.starts_with(&prefix));
                let is_container = row.flags.contains(Flags::CONTAINER);
                assert_eq!(is_container, has_subs, "{}", row.name);
            }
        }
    }
}
