// Looking at a scenario of the mock, and the checks that end every run.
'use strict';

const assert = require('node:assert/strict');
const checks = require('../clients/check.js');
const { close, complaints, end, open, requests } = require('./browser.js');

const [base, screenshots] = process.argv.slice(2);
const opened = [];

const { check, runAll } = checks;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// With a rest between the questions: the browser needs the processor more.
const until = (what, done, seconds) => checks.until(what, async () => (await done()) || (await pause(50)), seconds);

const mock = (scenario, what) => fetch(`${base}${scenario}/${what}`, { method: 'POST' });

// A scenario from its start, or from a second of it; in a hurry unless time matters.
async function visit(scenario, { at = 0, ...options } = {}) {
  await mock(scenario, 'answer/ok');
  await mock(scenario, 'at/0');
  await mock(scenario, `at/${at}`);
  return look(`${base}${scenario}/`, { inHurry: true, ...options });
}

async function look(url, options) {
  const page = await open(url, options);
  opened.push(page);
  return page;
}

const setOpen = (page, selector, now) => page.locator(selector).evaluateAll((all, how) => all.forEach((each) => { each.open = how; }), now);

// The whole page as a file. Lines are drawn where they are in sight: so all of it has to be.
async function picture(page, name) {
  const size = page.viewportSize();
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.setViewportSize({ ...size, height: Math.max(height, size.height) });
  await page.waitForTimeout(200);
  await page.screenshot({ path: `${screenshots}/${name}.png`, fullPage: true });
  await page.setViewportSize(size);
}

async function run(title) {
  check('no request leaves for another host', async () => {
    assert(requests.length > 5);
    assert.deepEqual(requests.filter((url) => !url.startsWith(base) && !url.startsWith('data:')), []);
    const kinds = requests.map((url) => new URL(url).pathname.split('/').at(-1));
    assert.deepEqual([...new Set(kinds)].sort(), ['', 'status']);
  });
  check('no error on the console', async () => assert.deepEqual(complaints, []));
  const leave = () => Promise.all(opened.splice(0).map((page) => close(page).catch(() => {})));
  await runAll(title, async () => ({}), leave).finally(end);
}

module.exports = { base, check, look, mock, pause, picture, run, setOpen, until, visit };
