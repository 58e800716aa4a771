// BullMQ with workers of its own, and default settings.
//
//     bullmq.js PORT
//
// Its worker is another process: this file again, with the word "worker" behind the port. What a job does is written into files below
// FRAMEWORKS_DIR, because Redis is what is under test. FRAMEWORKS_FAULT, if set, is a command that kills the server in the middle of a check.
'use strict';

const { FlowProducer, Queue, QueueEvents, QueueEventsProducer, UnrecoverableError, Worker } = require('bullmq');
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { version } = require('bullmq/package.json');
const { check, range, runAll, until, within } = require('../check.js');

const connection = { port: Number(process.argv[2]) };
const dir = process.env.FRAMEWORKS_DIR;
const FAULT = process.env.FRAMEWORKS_FAULT;

// ---- what jobs do ---------------------------------------------------------------------------------------------------

const processors = {
  add: async (job) => job.data.a + job.data.b,
  moment: async () => Date.now(),
  fail: async () => {
    throw new Error('on purpose');
  },
  failForGood: async () => {
    throw new UnrecoverableError('for good');
  },
  failTwice: async (job) => {
    if (job.attemptsMade < 2) throw new Error('not yet');
    return job.attemptsMade;
  },
  sum: async (job) => {
    const values = Object.values(await job.getChildrenValues());
    return values.reduce((a, b) => a + b, 0);
  },
  progress: async (job) => {
    await job.updateProgress(50);
    await job.log('half of it');
    return 'done';
  },
  work: async (job) => {
    fs.appendFileSync(path.join(dir, `job-${job.data.i}`), 'x');
    await new Promise((resolve) => setTimeout(resolve, 10));
    return job.data.i;
  },
};

function work() {
  const workers = ['jobs', 'other'].map((name) => new Worker(name, (job) => processors[job.name](job), { connection }));
  for (const worker of workers) worker.on('error', (error) => console.error(error));
  process.on('SIGTERM', async () => {
    await Promise.all(workers.map((worker) => worker.close()));
    process.exit(0);
  });
}

// ---- checks ---------------------------------------------------------------------------------------------------------

check('results', async ({ queue, events }) => {
  const job = await queue.add('add', { a: 2, b: 3 });
  if ((await job.waitUntilFinished(events, 20_000)) !== 5) throw new Error('wrong result');
  const jobs = await queue.addBulk(range(20, (i) => ({ name: 'add', data: { a: i, b: 1 } })));
  equal(await results(jobs, events), range(20, (i) => i + 1));
});

check('failures', async ({ queue, events }) => {
  const job = await queue.add('fail', {});
  await fails(job.waitUntilFinished(events, 20_000), 'on purpose');
  equal(await job.getState(), 'failed');
  equal((await queue.getFailed()).length, 1);
  await job.retry();
  await until('another failure', async () => (await queue.getJob(job.id)).attemptsMade === 2);
  await until('it is there again', async () => (await queue.getFailedCount()) === 1);
  await job.remove();
  equal(await queue.getFailedCount(), 0);
});

check('retries with backoff', async ({ queue, events }) => {
  const backoff = { type: 'exponential', delay: 200 };
  const job = await queue.add('failTwice', {}, { attempts: 3, backoff });
  equal(await job.waitUntilFinished(events, 20_000), 2);
  const hopeless = await queue.add('failForGood', {}, { attempts: 3, backoff });
  await fails(hopeless.waitUntilFinished(events, 20_000), 'for good');
  equal((await queue.getJob(hopeless.id)).attemptsMade, 1);
});

check('delayed jobs', async ({ queue, events }) => {
  const start = Date.now();
  const job = await queue.add('moment', {}, { delay: 1000 });
  equal(await job.getState(), 'delayed');
  if ((await job.waitUntilFinished(events, 20_000)) < start + 1000) throw new Error('too early');
  const promoted = await queue.add('moment', {}, { delay: 3_600_000 });
  await promoted.promote();
  await promoted.waitUntilFinished(events, 20_000);
});

check('priorities, names of jobs, removal', async ({ queue, events }) => {
  const jobs = await queue.addBulk(range(10, (i) => ({ name: 'add', data: { a: i, b: 0 }, opts: { priority: 10 - i } })));
  equal(await results(jobs, events), range(10, (i) => i));
  const own = await queue.add('moment', {}, { jobId: 'own', delay: 3_600_000 });
  const again = await queue.add('moment', {}, { jobId: 'own', delay: 3_600_000 });
  equal([own.id, again.id, await queue.getDelayedCount()], ['own', 'own', 1]);
  await own.remove();
  equal(await queue.getDelayedCount(), 0);
  const lone = { deduplication: { id: 'lone' }, delay: 3_600_000 };
  const first = await queue.add('moment', {}, lone);
  equal((await queue.add('moment', {}, lone)).id, first.id);
});

check('a job scheduler', async ({ queue }) => {
  await queue.upsertJobScheduler('often', { every: 300 }, { name: 'add', data: { a: 1, b: 1 } });
  await until('three times', async () => (await queue.getCompletedCount()) >= 3);
  equal((await queue.getJobSchedulers()).map((scheduler) => scheduler.key), ['often']);
  await queue.removeJobScheduler('often');
  equal(await queue.getJobSchedulersCount(), 0);
});

check('a flow over two queues', async ({ flows, events }) => {
  const child = (i) => ({ name: 'add', queueName: i % 2 ? 'jobs' : 'other', data: { a: i, b: 1 } });
  const middle = { name: 'sum', queueName: 'other', children: range(4, child) };
  const flow = await flows.add({ name: 'sum', queueName: 'jobs', children: [middle, child(5)] });
  equal(await flow.job.waitUntilFinished(events, 20_000), 16);
  equal((await flows.getFlow({ id: flow.job.id, queueName: 'jobs' })).children.length, 2);
});

check('progress, logs and events', async ({ queue, events }) => {
  const progress = new Promise((resolve) => events.once('progress', resolve));
  const job = await queue.add('progress', {});
  equal(await job.waitUntilFinished(events, 20_000), 'done');
  equal((await within(progress)).data, 50);
  equal((await queue.getJobLogs(job.id)).logs, ['half of it']);
});

check('pause, drain and clean', async ({ queue, events }) => {
  await queue.pause();
  const jobs = await queue.addBulk(range(5, (i) => ({ name: 'add', data: { a: i, b: i } })));
  equal(await queue.isPaused(), true);
  await queue.resume();
  await results(jobs, events);
  equal((await queue.clean(0, 100, 'completed')).length, 5);
  await queue.add('moment', {}, { delay: 3_600_000 });
  await queue.drain(true);
  equal(await queue.getDelayedCount(), 0);
});

// In the middle of it the server is killed. What was under way then may run once more. So it is with a server that restarts, too.
check('each job runs once', async ({ queue }) => {
  const count = 300;
  let fault = Promise.resolve();
  for (const i of range(count, (i) => i)) {
    await queue.add('work', { i }, { jobId: `job-${i}` });
    if (i === count / 2 && FAULT) fault = run(FAULT);
  }
  await fault;
  await until('all are done', async () => (await queue.getCompletedCount()) === count, 50);
  const executions = range(count, (i) => fs.statSync(path.join(dir, `job-${i}`)).size);
  const twice = executions.filter((times) => times !== 1).length;
  console.log(`# run twice: ${twice}`);
  if (twice > (FAULT ? 1 : 0)) throw new Error(`${twice} did not run just once`);
  equal(await queue.getJobCounts('active', 'waiting', 'failed', 'delayed'), { active: 0, waiting: 0, failed: 0, delayed: 0 });
});

// ---- helpers --------------------------------------------------------------------------------------------------------

const results = (jobs, events) => Promise.all(jobs.map((job) => job.waitUntilFinished(events, 20_000)));

function equal(a, b) {
  if (JSON.stringify(a) !== JSON.stringify(b)) throw new Error(`${JSON.stringify(a)} is not ${JSON.stringify(b)}`);
}

async function fails(promise, text) {
  const outcome = await promise.then(() => 'nothing', (error) => error.message);
  if (!outcome.includes(text)) throw new Error(`${outcome}, expected: ${text}`);
}

function run(command) {
  const child = spawn('bash', ['-c', command], { stdio: ['ignore', 2, 2] });
  return new Promise((resolve, reject) => {
    child.on('exit', (code) => (code === 0 ? resolve() : reject(new Error('the fault could not be made'))));
  });
}

async function open() {
  const queues = ['jobs', 'other'].map((name) => new Queue(name, { connection }));
  for (const queue of queues) await queue.obliterate({ force: true });
  const [queue] = queues;
  const events = new QueueEvents('jobs', { connection });
  const producer = new QueueEventsProducer('jobs', { connection });
  const flows = new FlowProducer({ connection });
  const all = [...queues, events, producer, flows];
  for (const each of all) each.on('error', (error) => console.error(error));
  await hears(events, producer);
  return { queue, events, flows, all };
}

// What happens before it listens, it never hears.
async function hears(events, producer) {
  let heard = false;
  events.once('probe', () => {
    heard = true;
  });
  await until('events are heard', async () => {
    await producer.publishEvent({ eventName: 'probe' });
    return heard;
  });
}

async function close({ all }) {
  await Promise.all(all.map((each) => each.close()));
}

async function main() {
  const log = fs.openSync(path.join(dir, 'workers.log'), 'a');
  const worker = spawn(process.execPath, [__filename, process.argv[2], 'worker'], { stdio: ['ignore', log, log] });
  const ended = new Promise((resolve) => worker.on('exit', resolve));
  process.on('exit', () => worker.kill('SIGKILL'));
  await runAll(`bullmq ${version}`, open, close);
  worker.kill('SIGTERM');
  await within(ended, 'the end of the worker');
  if (process.exitCode) console.log(fs.readFileSync(path.join(dir, 'workers.log'), 'utf8').slice(-20_000));
}

if (process.argv[3] === 'worker') work();
else main();
