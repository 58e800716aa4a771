// ioredis with default settings, which knows nothing of a cluster.
//
//     NODE_PATH=…/node_modules node ioredis.js PORT
'use strict';

const assert = require('node:assert/strict');
const Redis = require('ioredis');
const { version } = require('ioredis/package.json');
const { check, range, runAll } = require('./check.js');

const port = Number(process.argv[2]);
const { deepEqual, equal } = assert;

check('strings', async (r) => {
  equal(await r.set('s', 'hello'), 'OK');
  equal(await r.get('s'), 'hello');
  equal(await r.get('missing'), null);
  equal(await r.append('s', ' world'), 11);
  equal(await r.getrange('s', 0, 4), 'hello');
  equal(await r.set('s', 'x', 'NX'), null);
  equal(await r.set('s', 'y', 'EX', 100, 'XX'), 'OK');
  assert((await r.ttl('s')) > 95);
  equal(await r.incrby('n', 10), 10);
  equal(await r.incrbyfloat('n', 0.5), '10.5');
  equal(await r.getset('s', 'z'), 'y');
  equal(await r.getdel('s'), 'z');
  equal(await r.type('n'), 'string');
});

check('bytes of any kind', async (r) => {
  const every = Buffer.from(range(256, (i) => i));
  await r.set(every, every);
  deepEqual(await r.getBuffer(every), every);
  const large = Buffer.alloc(3 << 20, '\r\n\0');
  await r.set('large', large);
  assert((await r.getBuffer('large')).equals(large));
});

check('bitmaps and bitfields', async (r) => {
  equal(await r.setbit('b', 7, 1), 0);
  equal(await r.bitcount('b'), 1);
  equal(await r.bitpos('b', 1), 7);
  deepEqual(await r.bitfield('f', 'SET', 'u8', 0, 255, 'GET', 'u4', 0), [0, 15]);
});

check('hyperloglogs', async (r) => {
  equal(await r.pfadd('{p}1', 'a', 'b', 'c'), 1);
  equal(await r.pfadd('{p}2', 'c', 'd'), 1);
  equal(await r.pfcount('{p}1', '{p}2'), 4);
  equal(await r.pfmerge('{p}3', '{p}1', '{p}2'), 'OK');
});

check('hashes', async (r) => {
  equal(await r.hset('h', { a: 1, b: 2 }), 2);
  deepEqual(await r.hgetall('h'), { a: '1', b: '2' });
  deepEqual(await r.hmget('h', 'b', 'missing'), ['2', null]);
  equal(await r.hincrby('h', 'a', 4), 5);
  deepEqual(await r.hkeys('h'), ['a', 'b']);
  equal(await r.hdel('h', 'a', 'missing'), 1);
});

check('lists', async (r) => {
  equal(await r.rpush('l', 'a', 'b', 'c'), 3);
  deepEqual(await r.lrange('l', 0, -1), ['a', 'b', 'c']);
  equal(await r.linsert('l', 'BEFORE', 'b', 'B'), 4);
  deepEqual(await r.lpop('l', 2), ['a', 'B']);
  equal(await r.rpop('l'), 'c');
  await r.rpush('{l}1', 3, 1, 2);
  equal(await r.lmove('{l}1', '{l}2', 'LEFT', 'RIGHT'), '3');
  deepEqual(await r.sort('{l}1'), ['1', '2']);
});

check('sets', async (r) => {
  equal(await r.sadd('{t}1', 1, 2, 3), 3);
  await r.sadd('{t}2', 3, 4);
  deepEqual((await r.smembers('{t}1')).sort(), ['1', '2', '3']);
  deepEqual(await r.sinter('{t}1', '{t}2'), ['3']);
  equal(await r.sunionstore('{t}3', '{t}1', '{t}2'), 4);
  equal(await r.sismember('{t}1', 2), 1);
  deepEqual(await r.smismember('{t}1', 2, 9), [1, 0]);
});

check('sorted sets', async (r) => {
  equal(await r.zadd('{z}1', 1, 'a', 2.5, 'b'), 2);
  equal(await r.zadd('{z}2', 10, 'a'), 1);
  deepEqual(await r.zrange('{z}1', 0, -1, 'WITHSCORES'), ['a', '1', 'b', '2.5']);
  equal(await r.zscore('{z}1', 'b'), '2.5');
  equal(await r.zrank('{z}1', 'missing'), null);
  equal(await r.zunionstore('{z}3', 2, '{z}1', '{z}2'), 2);
  deepEqual(await r.zpopmin('{z}3'), ['b', '2.5']);
});

check('places', async (r) => {
  equal(await r.geoadd('g', 13.361389, 38.115556, 'Palermo', 15.087269, 37.502669, 'Catania'), 2);
  equal(await r.geodist('g', 'Palermo', 'Catania', 'km'), '166.2742');
  deepEqual(await r.geosearch('g', 'FROMLONLAT', 15, 37, 'BYRADIUS', 200, 'km', 'ASC'), ['Catania', 'Palermo']);
});

check('streams without BLOCK', async (r) => {
  equal(await r.xadd('x', '1-1', 'f', '1'), '1-1');
  equal(await r.xadd('x', '2-1', 'f', '2'), '2-1');
  deepEqual(await r.xrange('x', '-', '+'), [['1-1', ['f', '1']], ['2-1', ['f', '2']]]);
  deepEqual(await r.xread('STREAMS', 'x', '1-1'), [['x', [['2-1', ['f', '2']]]]]);
  equal(await r.xread('STREAMS', 'x', '$'), null);
  equal(await r.xgroup('CREATE', 'x', 'STREAMS', 0), 'OK');
  const read = await r.xreadgroup('GROUP', 'STREAMS', 'c1', 'COUNT', 1, 'STREAMS', 'x', '>');
  deepEqual(read, [['x', [['1-1', ['f', '1']]]]]);
  equal(await r.xack('x', 'STREAMS', '1-1'), 1);
  equal(await r.xdel('x', '1-1'), 1);
  equal(await r.xlen('x'), 1);
});

check('pipelines over many slots', async (r) => {
  const pipeline = r.pipeline();
  range(2000, (i) => pipeline.set(`k:${i}`, i).get(`k:${i}`).hset(`h:${i}`, 'f', i));
  const expected = range(2000, (i) => [[null, 'OK'], [null, String(i)], [null, 1]]).flat();
  deepEqual(await pipeline.exec(), expected);
  const [, wrong, right] = await r.pipeline().set('s', 'text').incr('s').get('s').exec();
  assert(/not an integer/.test(wrong[0].message));
  deepEqual(right, [null, 'text']);
});

check('many requests at once without a pipeline', async (r) => {
  await Promise.all(range(2000, (i) => r.set(`k:${i}`, i)));
  deepEqual(await Promise.all(range(2000, (i) => r.get(`k:${i}`))), range(2000, String));
});

check('automatic pipelines', async () => {
  const r = new Redis(port, { enableAutoPipelining: true });
  try {
    await Promise.all(range(1000, (i) => r.set(`k:${i}`, i)));
    deepEqual(await Promise.all(range(1000, (i) => r.get(`k:${i}`))), range(1000, String));
  } finally {
    r.disconnect();
  }
});

check('many keys of many slots', async (r) => {
  const keys = range(1000, (i) => `k:${i}`);
  equal(await r.mset(keys.flatMap((key) => [key, key])), 'OK');
  const backwards = [...keys].reverse();
  deepEqual(await r.mget(...backwards, 'missing'), [...backwards, null]);
  equal(await r.exists(...keys, 'missing', 'k:1'), 1001);
  equal(await r.touch(...keys, 'missing'), 1000);
  equal(await r.del(...keys.slice(0, 400)), 400);
  equal(await r.unlink(...keys), 600);
  equal(await r.dbsize(), 0);
});

check('scanStream', async (r) => {
  const keys = range(3000, (i) => `k:${i}`);
  await r.mset(keys.flatMap((key) => [key, '1']));
  const scan = async (options) => {
    const found = new Set();
    for await (const some of r.scanStream(options)) some.forEach((key) => found.add(key));
    return [...found].sort();
  };
  deepEqual(await scan(), [...keys].sort());
  deepEqual(await scan({ match: 'k:1*', count: 500 }), keys.filter((key) => key.startsWith('k:1')).sort());
});

check('scripts', async (r) => {
  deepEqual(await r.eval('return {KEYS[1], ARGV[1], 7, false}', 1, 'k', 'v'), ['k', 'v', 7, null]);
  r.defineCommand('store', { numberOfKeys: 1, lua: "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])" });
  for (let i = 0; i < 200; i += 1) equal(await r.store(`k:${i}`, i), String(i));
  const pipeline = r.pipeline();
  range(50, (i) => pipeline.store(`p:${i}`, i));
  deepEqual(await pipeline.exec(), range(50, (i) => [null, String(i)]));
  await r.script('FLUSH');
  equal(await r.store('again', 'and again'), 'and again');
  const sha = await r.script('LOAD', 'return ARGV[1]');
  deepEqual(await r.script('EXISTS', sha, 'f'.repeat(40)), [1, 0]);
  equal(await r.evalsha(sha, 1, 'k', 'there'), 'there');
  await assert.rejects(r.evalsha('f'.repeat(40), 0), /NOSCRIPT/);
});

check('errors', async (r) => {
  await r.set('s', 'text');
  await assert.rejects(r.lpush('s', 1), /WRONGTYPE/);
  await assert.rejects(r.call('NONESUCH'), /unknown command/);
  equal(await r.get('s'), 'text');
});

check('the face of a server', async (r) => {
  equal(await r.ping(), 'PONG');
  equal(await r.echo('hello'), 'hello');
  equal(await r.client('SETNAME', 'me'), 'OK');
  equal(await r.client('GETNAME'), 'me');
  deepEqual(await r.config('GET', 'maxmemory'), ['maxmemory', '0']);
  assert(/cluster_enabled:0/.test(await r.info()));
  equal((await r.time()).length, 2);
});

require('./ioredis_together.js');
require('./ioredis_sessions.js')(port, Redis);

function open(settings) {
  return async () => {
    const client = new Redis(port, settings);
    await client.flushall();
    return client;
  };
}

async function main() {
  await runAll(`ioredis ${version}`, open({}), (client) => client.quit());
  // RESP3 is the default since version 6.
  if (Number(version.split('.')[0]) >= 6) {
    await runAll(`ioredis ${version} RESP2`, open({ protocol: 2 }), (client) => client.quit());
  }
}

main();
