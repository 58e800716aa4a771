// Checks of ioredis for what is bound to a connection: transactions, subscriptions, waits, MONITOR.
'use strict';

const assert = require('node:assert/strict');
const { check, range, until, whileBlocked, within } = require('./check.js');

const { deepEqual, equal } = assert;

module.exports = (port, Redis) => {
  // Runs with a second client, whatever happens to it.
  const withAnother = async (r, run) => {
    const other = new Redis(port, { protocol: r.options.protocol });
    try {
      return await run(other);
    } finally {
      other.disconnect();
    }
  };

  check('transactions', async (r) => {
    deepEqual(await r.multi().set('{t}', 'x').get('{t}').incr('{t}n').exec(), [[null, 'OK'], [null, 'x'], [null, 1]]);
    deepEqual(await r.multi([['set', '{t}', 'y'], ['get', '{t}']]).exec(), [[null, 'OK'], [null, 'y']]);
    const [ok, wrong, right] = await r.multi().set('{t}', 'text').incr('{t}').get('{t}').exec();
    deepEqual([ok, right], [[null, 'OK'], [null, 'text']]);
    assert(/not an integer/.test(wrong[0].message));
    await assert.rejects(r.multi().set('{t}q', 1).call('NONESUCH').exec(), /EXECABORT/);
    equal(await r.exists('{t}q'), 0);
    deepEqual(await r.multi().exec(), []);
  });

  check('transactions without a pipeline', async (r) => {
    equal(await r.multi({ pipeline: false }), 'OK');
    equal(await r.set('{t}', 'x'), 'QUEUED');
    equal(await r.get('{t}'), 'QUEUED');
    deepEqual(await r.exec(), [[null, 'OK'], [null, 'x']]);
    await r.multi({ pipeline: false });
    await r.set('{t}', 'y');
    equal(await r.discard(), 'OK');
    equal(await r.get('{t}'), 'x');
  });

  check('a transaction inside a pipeline', async (r) => {
    const replies = await r.pipeline().get('a').multi().set('{t}', 1).get('{t}').exec().get('b').exec();
    deepEqual(replies.map(([, reply]) => reply), [null, 'OK', 'QUEUED', 'QUEUED', ['OK', '1'], null]);
  });

  check('watch', async (r) => withAnother(r, async (other) => {
    equal(await r.watch('{w}a', '{w}b'), 'OK');
    await other.set('{w}b', 1);
    equal(await r.multi().set('{w}a', 1).exec(), null);
    equal(await r.exists('{w}a'), 0);
    await r.watch('{w}b');
    deepEqual(await r.multi().incr('{w}b').exec(), [[null, 2]]);
    await r.watch('{w}b');
    await other.incr('{w}b');
    equal(await r.unwatch(), 'OK');
    deepEqual(await r.multi().incr('{w}b').exec(), [[null, 4]]);
  }));

  check('no increment under watch is lost', async (r) => {
    const client = () => withAnother(r, async (own) => {
      let done = 0;
      while (done < 25) {
        await own.watch('n');
        const before = Number(await own.get('n'));
        if (await own.multi().set('n', before + 1).exec()) done += 1;
      }
    });
    await Promise.all(range(4, client));
    equal(await r.get('n'), '100');
  });

  check('scripts in transactions and after a flush', async (r) => {
    r.defineCommand('put', { numberOfKeys: 1, lua: "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])" });
    equal(await r.put('{s}', 1), '1');
    await r.script('FLUSH');
    deepEqual(await Promise.all(range(50, (i) => r.put(`k:${i}`, i))), range(50, String));
    deepEqual(await r.multi().put('{s}', 2).get('{s}').exec(), [[null, '2'], [null, '2']]);
  });

  check('subscriptions', async (r) => withAnother(r, async (sub) => {
    const heard = [];
    sub.on('message', (channel, message) => heard.push([channel, message]));
    sub.on('pmessage', (pattern, channel, message) => heard.push([pattern, channel, message]));
    sub.on('messageBuffer', (channel) => assert(Buffer.isBuffer(channel)));
    equal(await sub.subscribe('c1', 'c2'), 2);
    equal(await sub.psubscribe('c*'), 3);
    deepEqual([await r.publish('c1', 'x'), await r.publish('c3', 'y'), await r.publish('nobody', 'z')], [2, 1, 0]);
    await until('three messages', () => heard.length === 3);
    deepEqual(heard.sort(), [['c*', 'c1', 'x'], ['c*', 'c3', 'y'], ['c1', 'x']]);
    deepEqual((await r.pubsub('CHANNELS')).sort(), ['c1', 'c2']);
    deepEqual(await r.pubsub('NUMSUB', 'c1', 'c3'), ['c1', 1, 'c3', 0]);
    equal(await r.pubsub('NUMPAT'), 1);
    if (r.options.protocol === 3) {
      equal(await sub.get('k'), null, 'RESP3 has no subscriber mode');
      equal(await sub.ping(), 'PONG');
    } else {
      await assert.rejects(sub.get('k'), /subscriber mode/);
      deepEqual(await sub.ping(), ['pong', '']);
    }
    equal(await sub.unsubscribe('c1', 'c2'), 1);
    equal(await sub.punsubscribe(), 0);
    equal(await sub.get('k'), null, 'an ordinary connection again');
    await sub.subscribe('c4');
    equal(await sub.quit(), 'OK');
    await until('the subscription has ended', async () => (await r.publish('c4', 'gone')) === 0);
  }));

  check('subscriptions to many channels keep the order of each', async (r) => withAnother(r, async (sub) => {
    const channels = range(50, (i) => `channel:${i}`);
    const heard = new Map(channels.map((channel) => [channel, []]));
    let count = 0;
    sub.on('message', (channel, message) => {
      heard.get(channel).push(Number(message));
      count += 1;
    });
    equal(await sub.subscribe(...channels), 50);
    const pipeline = r.pipeline();
    range(20, (i) => channels.forEach((channel) => pipeline.publish(channel, i)));
    deepEqual(await pipeline.exec(), range(1000, () => [null, 1]));
    await until('all messages', () => count === 1000);
    for (const numbers of heard.values()) deepEqual(numbers, range(20, (i) => i));
  }));

  check('sharded subscriptions', async (r) => withAnother(r, async (sub) => {
    const heard = [];
    sub.on('smessage', (channel, message) => heard.push([channel, message]));
    for (const channel of ['s1', 's2', 's3']) await sub.ssubscribe(channel);
    for (const channel of ['s1', 's2', 's3']) equal(await r.spublish(channel, channel), 1);
    await until('three messages', () => heard.length === 3);
    deepEqual(heard.sort(), [['s1', 's1'], ['s2', 's2'], ['s3', 's3']]);
  }));

  check('waits', async (r) => withAnother(r, async (waiter) => {
    await r.rpush('l2', 1, 2);
    deepEqual(await waiter.blpop('l1', 'l2', 'l3', 1), ['l2', '1']);
    deepEqual(await waiter.brpop('l1', 'l2', 'l3', 0), ['l2', '2']);
    equal(await waiter.brpop('l1', 'l2', 'l3', 0.05), null);
    const blocked = (wait, then) => whileBlocked(async () => /blocked_clients:1\r/.test(await r.info('clients')), wait, then);
    const cases = [
      [() => waiter.blpop('l1', 0), () => r.rpush('l1', 'x'), ['l1', 'x']],
      [() => waiter.blpop('l1', 'l2', 'l3', 0), () => r.rpush('l3', 'x'), ['l3', 'x']],
      [() => waiter.brpop('l1', 'l2', 'l3', 20), () => r.rpush('l2', 'x'), ['l2', 'x']],
      [() => waiter.blmove('{l}1', '{l}2', 'LEFT', 'LEFT', 0), () => r.rpush('{l}1', 'x'), 'x'],
      [() => waiter.bzpopmin('z1', 'z2', 0), () => r.zadd('z2', 1.5, 'x'), ['z2', 'x', '1.5']],
      [() => waiter.xread('BLOCK', 0, 'STREAMS', 'x1', '$'), () => r.xadd('x1', '1-1', 'f', 1), [['x1', [['1-1', ['f', '1']]]]]],
      [() => waiter.xread('BLOCK', 20000, 'STREAMS', 'x2', 'x3', '$', '$'), () => r.xadd('x3', '1-1', 'f', 1), [['x3', [['1-1', ['f', '1']]]]]],
    ];
    for (const [wait, then, expected] of cases) deepEqual(await blocked(wait, then), expected, String(wait));
    // Requests behind a wait are answered behind it.
    const both = await blocked(() => Promise.all([waiter.blpop('l1', 'l2', 0), waiter.get('k')]), () => r.rpush('l2', 'x'));
    deepEqual(both, [['l2', 'x'], null]);
  }));

  check('MONITOR', async (r) => {
    const monitor = await r.monitor();
    try {
      const wanted = new Set(range(20, (i) => `watched:${i}`));
      monitor.on('monitor', (time, args) => args[0].toUpperCase() === 'SET' && wanted.delete(args[1]));
      await Promise.all(range(20, (i) => r.set(`watched:${i}`, i)));
      await until('all SETs are seen', () => wanted.size === 0);
    } finally {
      monitor.disconnect();
    }
  });

  check('duplicate', async (r) => {
    const copy = r.duplicate();
    try {
      await r.set('k', 'v');
      equal(await within(copy.get('k')), 'v');
    } finally {
      await copy.quit();
    }
  });
};
