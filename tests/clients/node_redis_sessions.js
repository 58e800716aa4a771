// Checks of node-redis 4 and 5 for what is bound to a connection: transactions, subscriptions, waits, caches.
'use strict';

const assert = require('node:assert/strict');
const redis = require('redis');
const { check, range, until, whileBlocked } = require('./check.js');

const { deepEqual, equal } = assert;
const plain = (value) => JSON.parse(JSON.stringify(value));

// Waits for the next entry of some streams. In RESP3 the library refuses to decode XREAD.
async function readStreams(client, keys) {
  if (client.protocol !== 3) return client.xRead(keys.map((key) => ({ key, id: '$' })), { BLOCK: 0 });
  const read = await client.sendCommand(['XREAD', 'BLOCK', '0', 'STREAMS', ...keys, ...keys.map(() => '$')]);
  const message = ([id, [field, value]]) => ({ id, message: { [field]: value } });
  return Object.entries(read).map(([name, entries]) => ({ name, messages: entries.map(message) }));
}

module.exports = (modern) => {
  // Runs with a second client of the same settings, whatever happens to it.
  const withAnother = async (r, run, settings = {}) => {
    const other = r.duplicate(settings);
    other.on('error', (error) => console.log(`# ${error}`));
    await other.connect();
    other.protocol = r.protocol;
    try {
      return await run(other);
    } finally {
      if (modern) other.destroy();
      else await other.disconnect();
    }
  };

  check('transactions', async (r) => {
    deepEqual(await r.multi().set('{t}', 'x').get('{t}').incr('{t}n').exec(), ['OK', 'x', 1]);
    deepEqual(await Promise.all(range(50, (i) => r.multi().set(`k:${i}`, `${i}`).get(`k:${i}`).exec())), range(50, (i) => ['OK', `${i}`]));
    const failed = await r.multi().set('{t}', 'text').incr('{t}').get('{t}').exec().catch((error) => error);
    // Version 5 and late versions 4 collect the errors, others give them in place.
    const replies = failed.replies ?? failed;
    equal(replies[0], 'OK');
    assert(/not an integer/.test(replies[1].message));
    equal(replies[2], 'text');
    await assert.rejects(r.multi().set('{t}q', '1').addCommand(['NONESUCH']).exec(), /EXECABORT|unknown command/);
    equal(await r.exists('{t}q'), 0);
    deepEqual(await r.multi().exec(), []);
    deepEqual(await r.multi().set('a', '1').set('b', '2').get('a').execAsPipeline(), ['OK', 'OK', '1']);
  });

  check('watch', async (r) => withAnother(r, async (own) => {
    await own.watch(['{w}a', '{w}b']);
    await r.set('{w}b', '1');
    await assert.rejects(own.multi().set('{w}a', '1').exec(), redis.WatchError);
    equal(await r.exists('{w}a'), 0);
    await own.watch('{w}b');
    deepEqual(await own.multi().incr('{w}b').exec(), [2]);
    await own.watch('{w}b');
    await r.incr('{w}b');
    equal(await own.unwatch(), 'OK');
    deepEqual(await own.multi().incr('{w}b').exec(), [4]);
  }));

  check('isolated clients', async (r) => {
    const pool = modern ? r.createPool() : undefined;
    if (pool) await pool.connect();
    const isolated = (run) => (modern ? pool.execute(run) : r.executeIsolated(run));
    const increment = async () => {
      for (let done = false; !done; ) {
        done = await isolated(async (own) => {
          await own.watch('n');
          const before = Number(await own.get('n'));
          const replies = await own.multi().set('n', `${before + 1}`).exec().catch((error) => {
            assert(error instanceof redis.WatchError, error);
          });
          return Boolean(replies);
        });
      }
    };
    await Promise.all(range(4, async () => {
      for (let i = 0; i < 10; i += 1) await increment();
    }));
    equal(await r.get('n'), '40');
    if (pool) pool.destroy();
  });

  check('scripts in transactions and after a flush', async (r) => {
    equal(await r.store('{s}', '1'), '1');
    await r.scriptFlush();
    deepEqual(await Promise.all(range(50, (i) => r.store(`k:${i}`, `${i}`))), range(50, String));
    deepEqual(await r.multi().store('{s}', '2').get('{s}').exec(), ['2', '2']);
  });

  check('subscriptions', async (r) => withAnother(r, async (sub) => {
    const heard = [];
    const listener = (message, channel) => heard.push([channel, message]);
    await sub.subscribe(['c1', 'c2'], listener);
    await sub.pSubscribe('c*', (message, channel) => heard.push(['c*', channel, message]));
    deepEqual([await r.publish('c1', 'x'), await r.publish('c3', 'y'), await r.publish('nobody', 'z')], [2, 1, 0]);
    await until('three messages', () => heard.length === 3);
    deepEqual(heard.sort(), [['c*', 'c1', 'x'], ['c*', 'c3', 'y'], ['c1', 'x']]);
    deepEqual((await r.pubSubChannels()).sort(), ['c1', 'c2']);
    deepEqual(plain(await r.pubSubNumSub(['c1', 'c3'])), { c1: 1, c3: 0 });
    equal(await r.pubSubNumPat(), 1);
    if (r.protocol === 3) {
      equal(await sub.set('k', 'v'), 'OK', 'RESP3 has no subscriber mode');
      equal(await sub.get('k'), 'v');
    }
    await sub.unsubscribe('c1');
    equal(await r.publish('c1', 'to the pattern'), 1);
    // Without names the library itself would wait for ever.
    await sub.pUnsubscribe('c*');
    await sub.unsubscribe('c2');
    equal(await r.publish('c2', 'nobody'), 0);
    equal(String(await sub.ping()), 'PONG');
  }));

  check('subscriptions to many channels keep the order of each', async (r) => withAnother(r, async (sub) => {
    const channels = range(50, (i) => `channel:${i}`);
    const heard = new Map(channels.map((channel) => [channel, []]));
    let count = 0;
    await sub.subscribe(channels, (message, channel) => {
      heard.get(channel).push(Number(message));
      count += 1;
    });
    const counts = await Promise.all(range(20, (i) => channels.map((channel) => r.publish(channel, `${i}`))).flat());
    deepEqual(counts, range(1000, () => 1));
    await until('all messages', () => count === 1000);
    for (const numbers of heard.values()) deepEqual(numbers, range(20, (i) => i));
  }));

  check('sharded subscriptions', async (r) => withAnother(r, async (sub) => {
    const heard = [];
    for (const channel of ['s1', 's2', 's3']) await sub.sSubscribe(channel, (message, from) => heard.push([from, message]));
    for (const channel of ['s1', 's2', 's3']) equal(await r.sPublish(channel, channel), 1);
    await until('three messages', () => heard.length === 3);
    deepEqual(heard.sort(), [['s1', 's1'], ['s2', 's2'], ['s3', 's3']]);
  }));

  check('waits', async (r) => withAnother(r, async (waiter) => {
    await r.rPush('l2', ['1', '2']);
    deepEqual(plain(await waiter.blPop(['l1', 'l2', 'l3'], 1)), { key: 'l2', element: '1' });
    deepEqual(plain(await waiter.brPop(['l1', 'l2', 'l3'], 0)), { key: 'l2', element: '2' });
    equal(await waiter.blPop(['l1', 'l2'], 0.05), null);
    const blocked = (wait, then) => whileBlocked(async () => /blocked_clients:1\r/.test(await r.info('clients')), wait, then);
    const cases = [
      [() => waiter.blPop('l1', 0), () => r.rPush('l1', 'x'), { key: 'l1', element: 'x' }],
      [() => waiter.blPop(['l1', 'l2', 'l3'], 0), () => r.rPush('l3', 'x'), { key: 'l3', element: 'x' }],
      [() => waiter.brPop(['l1', 'l2', 'l3'], 20), () => r.rPush('l2', 'x'), { key: 'l2', element: 'x' }],
      [() => waiter.blMove('{l}1', '{l}2', 'LEFT', 'LEFT', 0), () => r.rPush('{l}1', 'x'), 'x'],
      [() => waiter.bzPopMin(['z1', 'z2'], 0), () => r.zAdd('z2', { score: 1.5, value: 'x' }), { key: 'z2', score: 1.5, value: 'x' }],
    ];
    for (const [wait, then, expected] of cases) deepEqual(plain(await blocked(wait, then)), expected, String(wait));
    for (const [keys, key] of [[['x1'], 'x1'], [['x2', 'x3'], 'x3']]) {
      const read = await blocked(() => readStreams(waiter, keys), () => r.xAdd(key, '1-1', { f: '1' }));
      deepEqual(plain(read), [{ name: key, messages: [{ id: '1-1', message: { f: '1' } }] }]);
    }
  }));

  check('a wait on a connection of its own', async (r) => {
    if (modern) return;
    const popped = r.blPop(redis.commandOptions({ isolated: true }), ['l1', 'l2'], 0);
    await until('it waits', async () => /blocked_clients:1\r/.test(await r.info('clients')));
    await r.rPush('l2', 'x');
    deepEqual(plain(await popped), { key: 'l2', element: 'x' });
  });

  check('MONITOR', async (r) => {
    if (!r.monitor) return;
    await withAnother(r, async (monitor) => {
      const wanted = new Set(range(20, (i) => `watched:${i}`));
      await monitor.monitor((line) => {
        for (const key of wanted) if (line.includes(`"${key}"`)) wanted.delete(key);
      });
      await Promise.all(range(20, (i) => r.set(`watched:${i}`, `${i}`)));
      await until('all SETs are seen', () => wanted.size === 0);
    });
  });

  check('a cache in the client', async (r) => {
    if (r.protocol !== 3) return;
    const settings = { clientSideCache: { ttl: 0, maxEntries: 0, evictPolicy: 'LRU' } };
    await withAnother(r, async (cached) => {
      const keys = range(100, (i) => `k:${i}`);
      const read = () => Promise.all(keys.map((key) => cached.get(key)));
      await r.mSet(keys.map((key) => [key, 'old']));
      deepEqual(await read(), keys.map(() => 'old'));
      deepEqual(await read(), keys.map(() => 'old'));
      const { hitCount } = cached.clientSideCache.stats();
      equal(hitCount, 100);
      await r.mSet(keys.map((key) => [key, 'new']));
      await until('the cache is told', async () => (await read()).every((value) => value === 'new'));
      await r.del('k:0');
      await until('the cache is told of a deletion', async () => (await cached.get('k:0')) === null);
    }, settings);
  });
};
