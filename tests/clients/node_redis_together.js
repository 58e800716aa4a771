// What needs all keys in one place: a plain server, or slotcar with keep-together '*' (CLIENTS_ONE_PLACE says that it is so).
'use strict';

const assert = require('node:assert/strict');
const { check, range } = require('./check.js');

const { deepEqual, equal } = assert;
const checkInOnePlace = (name, run) => process.env.CLIENTS_ONE_PLACE && check(name, run);

checkInOnePlace('a transaction over a hundred keys', async (r) => {
  const multi = r.multi();
  range(100, (i) => multi.set(`k:${i}`, String(i)));
  const replies = await multi.incr('count').rPush('list', ['a', 'b']).lPop('list').exec();
  deepEqual(replies, [...range(100, () => 'OK'), 1, 2, 'a']);
});

checkInOnePlace('keys of any name are watched together', async (r) => {
  await r.mSet({ from: '10', to: '0' });
  await r.watch(['from', 'to']);
  deepEqual(await r.multi().set('from', '0').set('to', '10').exec(), ['OK', 'OK']);
  await r.watch(['from', 'to']);
  const other = r.duplicate();
  await other.connect();
  await other.set('to', '99');
  await other.disconnect();
  await assert.rejects(r.multi().set('from', '1').exec(), { name: 'Error' });
});

checkInOnePlace('lists, sets and sorted sets of any name', async (r) => {
  await r.rPush('one', ['a', 'b', 'c']);
  equal(await r.rPopLPush('one', 'two'), 'c');
  equal(await r.lMove('one', 'two', 'LEFT', 'RIGHT'), 'a');
  equal((await r.blPop(['none', 'one'], 1)).element, 'b');
  await r.sAdd('s1', ['1', '2', '3']);
  await r.sAdd('s2', ['2', '3', '4']);
  deepEqual([...(await r.sInter(['s1', 's2']))].sort(), ['2', '3']);
  equal(await r.sUnionStore('s3', ['s1', 's2']), 4);
  equal(await r.sDiffStore('s4', ['s1', 's2']), 1);
  await r.zAdd('z1', [
    { score: 1, value: 'a' },
    { score: 2, value: 'b' },
  ]);
  await r.zAdd('z2', { score: 3, value: 'b' });
  equal(await r.zUnionStore('z3', ['z1', 'z2']), 2);
  deepEqual(await r.zInter(['z1', 'z2']), ['b']);
});

checkInOnePlace('names of any kind, and those that scripts make', async (r) => {
  await r.mSetNX({ x: '1', y: '2' });
  equal(await r.rename('x', 'renamed'), 'OK');
  const script = "redis.call('SET', 'made:' .. ARGV[1], redis.call('GET', KEYS[1])) return redis.call('KEYS', 'made:*')";
  deepEqual(await r.eval(script, { keys: ['y'], arguments: ['up'] }), ['made:up']);
  deepEqual((await r.keys('*')).sort(), ['made:up', 'renamed', 'y']);
});
