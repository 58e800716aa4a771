// Runs named checks one after another and prints one TAP line for each.
'use strict';

const checks = [];
let number = 0;
let failed = 0;

const check = (name, run) => checks.push({ name, run });

// For each check a fresh client of an empty server.
async function runAll(title, open, close) {
  for (const { name, run } of checks) {
    number += 1;
    let client;
    try {
      client = await open();
      await run(client);
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

module.exports = { check, runAll };
