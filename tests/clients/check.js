// Runs named checks one after another and prints one TAP line for each.
'use strict';

const checks = [];
let number = 0;
let failed = 0;

const check = (name, run) => checks.push({ name, run });

const range = (count, make) => Array.from({ length: count }, (_, i) => make(i));

// A promise that must be kept soon.
async function within(promise, what = 'an answer', seconds = 20) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`still waiting: ${what}`)), seconds * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Asks again and again until the answer is yes.
async function until(what, done, seconds = 20) {
  const end = Date.now() + seconds * 1000;
  while (!(await done())) {
    if (Date.now() > end) throw new Error(`still waiting: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

// Starts `wait`, runs `then` once `isBlocked` says that the server knows of it, gives what `wait` gave.
async function whileBlocked(isBlocked, wait, then) {
  const waiting = wait();
  await until('a client is blocked', isBlocked);
  await then();
  return within(waiting, `the end of ${wait}`);
}

// For each check a fresh client of an empty server.
async function runAll(title, open, close) {
  for (const { name, run } of checks) {
    number += 1;
    let client;
    try {
      client = await open();
      await within(run(client), name, 60);
      console.log(`ok ${number} - ${title}: ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`not ok ${number} - ${title}: ${name}\n${error.stack}`);
    } finally {
      if (client) await close(client);
    }
  }
  process.exitCode = failed ? 1 : 0;
}

// A client that never answers must not hang the run for ever.
setTimeout(() => {
  console.log(`not ok ${number} - still running after two minutes`);
  process.exit(1);
}, 120_000).unref();

module.exports = { check, range, runAll, until, whileBlocked, within };
