// What needs all keys in one place: a plain server, or slotcar with keep-together '*' (CLIENTS_ONE_PLACE says that it is so).
'use strict';

const assert = require('node:assert/strict');
const { check, range, whileBlocked } = require('./check.js');

const { deepEqual, equal } = assert;
const checkInOnePlace = (name, run) => process.env.CLIENTS_ONE_PLACE && check(name, run);

checkInOnePlace('a transaction over a hundred keys', async (r) => {
  const multi = r.multi();
  range(100, (i) => multi.set(`k:${i}`, i));
  const replies = await multi.incr('count').rpush('list', 'a', 'b').lpop('list').exec();
  deepEqual(replies, [...range(100, () => [null, 'OK']), [null, 1], [null, 2], [null, 'a']]);
});

checkInOnePlace('keys of any name are watched together', async (r) => {
  await r.mset('from', 10, 'to', 0);
  await r.watch('from', 'to');
  deepEqual(await r.multi().set('from', 0).set('to', 10).exec(), [
    [null, 'OK'],
    [null, 'OK'],
  ]);
  await r.watch('from', 'to');
  const other = r.duplicate();
  await other.set('to', 99);
  other.disconnect();
  equal(await r.multi().set('from', 1).exec(), null);
});

checkInOnePlace('lists, sets and sorted sets of any name', async (r) => {
  await r.rpush('one', 'a', 'b', 'c');
  equal(await r.rpoplpush('one', 'two'), 'c');
  equal(await r.lmove('one', 'two', 'LEFT', 'RIGHT'), 'a');
  deepEqual(await r.lmpop(2, 'none', 'two', 'LEFT', 'COUNT', 5), ['two', ['c', 'a']]);
  deepEqual(await r.blpop('none', 'one', 1), ['one', 'b']);
  await r.sadd('s1', 1, 2, 3);
  await r.sadd('s2', 2, 3, 4);
  deepEqual((await r.sinter('s1', 's2')).sort(), ['2', '3']);
  equal(await r.sunionstore('s3', 's1', 's2'), 4);
  equal(await r.sdiffstore('s4', 's1', 's2'), 1);
  equal(await r.smove('s1', 's2', 1), 1);
  await r.zadd('z1', 1, 'a', 2, 'b');
  await r.zadd('z2', 3, 'b', 4, 'c');
  equal(await r.zunionstore('z3', 2, 'z1', 'z2'), 3);
  deepEqual(await r.zinter(2, 'z1', 'z2', 'WITHSCORES'), ['b', '5']);
  deepEqual(await r.bzpopmin('none', 'z2', 1), ['z2', 'b', '3']);
});

checkInOnePlace('a wait for a list of any name', async (r) => {
  const other = r.duplicate();
  const waiter = r.duplicate();
  const isBlocked = async () => /blocked_clients:1\r/.test(await r.info('clients'));
  const wait = () => waiter.blmove('late', 'moved', 'LEFT', 'RIGHT', 10);
  equal(await whileBlocked(isBlocked, wait, () => other.rpush('late', 'x')), 'x');
  other.disconnect();
  waiter.disconnect();
});

checkInOnePlace('names of any kind, and those that scripts make', async (r) => {
  equal(await r.msetnx('x', 1, 'y', 2), 1);
  equal(await r.rename('x', 'renamed'), 'OK');
  equal(await r.copy('renamed', 'copied'), 1);
  r.defineCommand('keep', {
    numberOfKeys: 1,
    lua: "redis.call('SET', 'made:' .. ARGV[1], redis.call('GET', KEYS[1])) return redis.call('KEYS', 'made:*')",
  });
  deepEqual(await r.keep('y', 'up'), ['made:up']);
  deepEqual(await r.multi().keep('y', 'down').get('made:down').exec().then((all) => all[1]), [null, '2']);
  deepEqual((await r.keys('*')).sort(), ['copied', 'made:down', 'made:up', 'renamed', 'y']);
});
