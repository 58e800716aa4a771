// node-redis 4 and 5 with default settings, which know nothing of a cluster; version 5 also with RESP3.
//
//     NODE_PATH=…/node_modules node node_redis.js PORT
'use strict';

const assert = require('node:assert/strict');
const redis = require('redis');
const { version } = require('redis/package.json');
const { check, range, runAll } = require('./check.js');

const port = Number(process.argv[2]);
const modern = Number(version.split('.')[0]) >= 5;
// Replies that are maps have no prototype in some versions.
const plain = (value) => JSON.parse(JSON.stringify(value));
const { deepEqual, equal } = assert;

check('strings', async (r) => {
  equal(await r.set('s', 'hello'), 'OK');
  equal(await r.get('s'), 'hello');
  equal(await r.get('missing'), null);
  equal(await r.append('s', ' world'), 11);
  equal(await r.getRange('s', 0, 4), 'hello');
  equal(await r.set('s', 'x', { NX: true }), null);
  equal(await r.set('s', 'y', { XX: true, EX: 100 }), 'OK');
  assert((await r.ttl('s')) > 95);
  equal(await r.incrBy('n', 10), 10);
  equal(Number(await r.incrByFloat('n', 0.5)), 10.5);
  equal(await r.getDel('s'), 'y');
  equal(await r.type('n'), 'string');
});

check('bytes of any kind', async (r) => {
  const every = Buffer.from(range(256, (i) => i));
  const large = Buffer.alloc(3 << 20, '\r\n\0');
  await r.set(every, every);
  await r.set('large', large);
  const buffers = modern
    ? r.withTypeMapping({ [redis.RESP_TYPES.BLOB_STRING]: Buffer })
    : { get: (key) => r.get(redis.commandOptions({ returnBuffers: true }), key) };
  deepEqual(await buffers.get(every), every);
  assert((await buffers.get('large')).equals(large));
});

check('bitmaps and bitfields', async (r) => {
  equal(await r.setBit('b', 7, 1), 0);
  equal(await r.bitCount('b'), 1);
  equal(await r.bitPos('b', 1), 7);
  deepEqual(await r.bitField('f', [{ operation: 'SET', encoding: 'u8', offset: 0, value: 255 }]), [0]);
});

check('hyperloglogs', async (r) => {
  equal(Number(await r.pfAdd('{p}1', ['a', 'b', 'c'])), 1);
  equal(Number(await r.pfAdd('{p}2', ['c', 'd'])), 1);
  equal(await r.pfCount(['{p}1', '{p}2']), 4);
});

check('hashes', async (r) => {
  equal(await r.hSet('h', { a: '1', b: '2' }), 2);
  deepEqual(plain(await r.hGetAll('h')), { a: '1', b: '2' });
  deepEqual(plain(await r.hGetAll('missing')), {});
  deepEqual(await r.hmGet('h', ['b', 'missing']), ['2', null]);
  equal(await r.hIncrBy('h', 'a', 4), 5);
  equal(await r.hDel('h', ['a', 'missing']), 1);
});

check('lists', async (r) => {
  equal(await r.rPush('l', ['a', 'b', 'c']), 3);
  deepEqual(await r.lRange('l', 0, -1), ['a', 'b', 'c']);
  equal(await r.lInsert('l', 'BEFORE', 'b', 'B'), 4);
  deepEqual(await r.lPopCount('l', 2), ['a', 'B']);
  await r.rPush('{l}1', ['3', '1', '2']);
  equal(await r.lMove('{l}1', '{l}2', 'LEFT', 'RIGHT'), '3');
  deepEqual(await r.sort('{l}1'), ['1', '2']);
});

check('sets', async (r) => {
  equal(await r.sAdd('{t}1', ['1', '2', '3']), 3);
  await r.sAdd('{t}2', ['3', '4']);
  deepEqual([...(await r.sMembers('{t}1'))].sort(), ['1', '2', '3']);
  deepEqual([...(await r.sInter(['{t}1', '{t}2']))], ['3']);
  equal(Number(await r.sIsMember('{t}1', '2')), 1);
});

check('sorted sets', async (r) => {
  equal(await r.zAdd('{z}1', [{ score: 1, value: 'a' }, { score: 2.5, value: 'b' }]), 2);
  await r.zAdd('{z}2', { score: 10, value: 'a' });
  deepEqual(plain(await r.zRangeWithScores('{z}1', 0, -1)), [{ value: 'a', score: 1 }, { value: 'b', score: 2.5 }]);
  equal(await r.zScore('{z}1', 'b'), 2.5);
  equal(await r.zScore('{z}1', 'missing'), null);
  equal(await r.zUnionStore('{z}3', ['{z}1', '{z}2']), 2);
  deepEqual(plain(await r.zPopMin('{z}3')), { value: 'b', score: 2.5 });
});

check('places', async (r) => {
  const members = [
    { longitude: 13.361389, latitude: 38.115556, member: 'Palermo' },
    { longitude: 15.087269, latitude: 37.502669, member: 'Catania' },
  ];
  equal(await r.geoAdd('g', members), 2);
  equal(Number(await r.geoDist('g', 'Palermo', 'Catania', 'km')), 166.2742);
});

check('streams without BLOCK', async (r) => {
  equal(await r.xAdd('x', '1-1', { f: '1' }), '1-1');
  equal(await r.xAdd('x', '2-1', { f: '2' }), '2-1');
  const entry = (id, f) => ({ id, message: { f } });
  const essence = (entries) => plain(entries).map(({ id, message }) => ({ id, message }));
  deepEqual(essence(await r.xRange('x', '-', '+')), [entry('1-1', '1'), entry('2-1', '2')]);
  if (!modern || r.protocol === 2) {
    const [read] = await r.xRead({ key: 'x', id: '1-1' });
    equal(read.name, 'x');
    deepEqual(essence(read.messages), [entry('2-1', '2')]);
    equal(await r.xRead({ key: 'x', id: '$' }), null);
    equal(await r.xGroupCreate('x', 'STREAMS', '0'), 'OK');
    const [group] = await r.xReadGroup('STREAMS', 'c1', { key: 'x', id: '>' }, { COUNT: 1 });
    deepEqual(essence(group.messages), [entry('1-1', '1')]);
    equal(await r.xAck('x', 'STREAMS', '1-1'), 1);
  }
  equal(await r.xDel('x', '1-1'), 1);
  equal(await r.xLen('x'), 1);
});

check('pipelines over many slots', async (r) => {
  const pipeline = r.multi();
  range(2000, (i) => pipeline.set(`k:${i}`, `${i}`).get(`k:${i}`).hSet(`h:${i}`, 'f', `${i}`));
  deepEqual(await pipeline.execAsPipeline(), range(2000, (i) => ['OK', `${i}`, 1]).flat());
});

check('many requests at once', async (r) => {
  await Promise.all(range(2000, (i) => r.set(`k:${i}`, `${i}`)));
  deepEqual(await Promise.all(range(2000, (i) => r.get(`k:${i}`))), range(2000, String));
});

check('many keys of many slots', async (r) => {
  const keys = range(1000, (i) => `k:${i}`);
  equal(await r.mSet(keys.map((key) => [key, key])), 'OK');
  const backwards = [...keys].reverse();
  deepEqual(await r.mGet([...backwards, 'missing']), [...backwards, null]);
  equal(await r.exists([...keys, 'missing', 'k:1']), 1001);
  equal(await r.touch([...keys, 'missing']), 1000);
  equal(await r.del(keys.slice(0, 400)), 400);
  equal(await r.unlink(keys), 600);
  equal(await r.dbSize(), 0);
});

check('scanIterator', async (r) => {
  const keys = range(3000, (i) => `k:${i}`);
  await r.mSet(keys.map((key) => [key, '1']));
  const scan = async (options) => {
    const found = new Set();
    // One key at a time in version 4, a batch in version 5.
    for await (const some of r.scanIterator(options)) [some].flat().forEach((key) => found.add(key));
    return [...found].sort();
  };
  deepEqual(await scan(), [...keys].sort());
  deepEqual(await scan({ MATCH: 'k:1*', COUNT: 500 }), keys.filter((key) => key.startsWith('k:1')).sort());
});

check('scripts', async (r) => {
  const options = (key, ...args) => ({ keys: [key], arguments: args });
  deepEqual(await r.eval('return {KEYS[1], ARGV[1], 7, false}', options('k', 'v')), ['k', 'v', 7, null]);
  for (let i = 0; i < 200; i += 1) equal(await r.store(`k:${i}`, `${i}`), `${i}`);
  equal(await r.scriptFlush(), 'OK');
  equal(await r.store('again', 'and again'), 'and again');
  const sha = await r.scriptLoad('return ARGV[1]');
  deepEqual((await r.scriptExists([sha, 'f'.repeat(40)])).map(Number), [1, 0]);
  equal(await r.evalSha(sha, options('k', 'there')), 'there');
  await assert.rejects(r.evalSha('f'.repeat(40), options('k')), /NOSCRIPT/);
});

check('errors', async (r) => {
  await r.set('s', 'text');
  await assert.rejects(r.lPush('s', '1'), /WRONGTYPE/);
  await assert.rejects(r.sendCommand(['NONESUCH']), /unknown command/);
  equal(await r.get('s'), 'text');
});

check('the face of a server', async (r) => {
  equal(await r.ping(), 'PONG');
  equal(await r.echo('hello'), 'hello');
  equal(await r.clientSetName('me'), 'OK');
  equal(await r.clientGetName(), 'me');
  deepEqual(plain(await r.configGet('maxmemory')), { maxmemory: '0' });
  assert(/cluster_enabled:0/.test(await r.info()));
});

const store = redis.defineScript({
  NUMBER_OF_KEYS: 1,
  SCRIPT: "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])",
  FIRST_KEY_INDEX: 1,
  // Version 4 takes what this returns, version 5 what it is handed.
  transformArguments: (key, value) => [key, value],
  parseCommand(parser, key, value) {
    parser.pushKey(key);
    parser.push(value);
  },
  transformReply: modern ? undefined : (reply) => reply,
});

require('./node_redis_together.js');
require('./node_redis_sessions.js')(modern);

function open(protocol) {
  return async () => {
    const settings = { url: `redis://127.0.0.1:${port}`, scripts: { store } };
    if (protocol === 3) settings.RESP = 3;
    const client = redis.createClient(settings);
    client.on('error', (error) => console.log(`# ${error}`));
    await client.connect();
    await client.flushAll();
    client.protocol = protocol;
    return client;
  };
}

async function main() {
  for (const protocol of modern ? [2, 3] : [2]) {
    await runAll(`node-redis ${version} RESP${protocol}`, open(protocol), (client) => client.quit());
  }
}

main();
