// The status page of a running slotcar before a cluster, under load, when a primary dies.
//
//     PAGE_SLOTCAR=pid PAGE_VICTIM=pid PAGE_PORTS='of the nodes, the victim first' NODE_PATH=…/node_modules node real.js URL SCREENSHOTS
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const { SMALL, barriers, cells, parts, reachable, sideways, tabThrough, textOf } = require('./browser.js');
const { base, check, look, picture, run, until } = require('./visit.js');

const { equal, deepEqual, match, ok } = assert;
const { PAGE_SLOTCAR, PAGE_VICTIM, PAGE_PORTS } = process.env;
const nodes = PAGE_PORTS.split(' ').map((port) => `127.0.0.1:${port}`);
const [victim] = nodes;
const POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const number = (text) => Number(text.replaceAll(',', ''));
const kindsOf = async (page) => (await cells(page, 'events')).map((row) => row[1]);
const served = async (page) => (await cells(page, 'slots-as-table')).reduce((sum, row) => sum + number(row[1]), 0);

async function lookAtAll() {
  const page = await look(base);
  await until('a few answers', () => page.statuses.length > 5);
  return page;
}

check('the page is the file, and its policy is sent', async () => {
  const answer = await fetch(base);
  equal(await answer.text(), fs.readFileSync(`${__dirname}/../../src/admin/page.html`, 'utf8'));
  match(answer.headers.get('content-type'), /^text\/html; ?charset=utf-8$/i);
  equal(answer.headers.get('content-security-policy'), POLICY);
});

check('slots, rates, clients and keys are shown', async () => {
  const page = await lookAtAll();
  match(await textOf(page, '#ready'), /Ready/);
  equal((await parts(page)).length, 3);
  equal(await served(page), 16384);
  deepEqual((await cells(page, 'slots-as-table')).map((row) => row[0]).sort(), nodes.slice(0, 3).sort());
  const rows = await cells(page, 'nodes');
  // Nodes name a replica only when they have heard of it: slotcar may learn it later.
  deepEqual(rows.map((row) => row[0]).filter((name) => !nodes.includes(name)), []);
  equal(rows.filter((row) => row[1] === 'primary').length, 3);
  for (const row of rows.filter((each) => each[1] === 'primary')) {
    ok(number(row[4]) > 0, `requests/s of ${row[0]}: ${row[4]}`);
    match(row[6], /µs|ms| s$/);
    match(row[7], /[KM]iB/, 'INFO');
  }
  const stages = await cells(page, 'stages');
  ok(stages.every((row) => /µs|ms| s$/.test(row[3])), `p99 of the stages: ${stages}`);
  match(await textOf(page, '#tiles'), /Requests\/s\n[1-9]/);
  // Between two runs of the load there are none.
  await until('clients', async () => (await cells(page, 'clients')).length >= 5);
  ok((await cells(page, 'commands')).some((row) => row[0] === 'get'));
  await until('the hot key', async () => (await cells(page, 'hot')).some((row) => row[0] === 'page:hot'));
  await until('the large value', async () => (await cells(page, 'large')).some((row) => row[0] === 'page:large'));
  await picture(page, 'real-before-wide-light');
});

check('a failover is found in the page', async () => {
  const page = await lookAtAll();
  process.kill(Number(PAGE_VICTIM), 'SIGKILL');
  await until('the failover', async () => (await kindsOf(page)).includes('failover'), 40);
  await until('its slots are served again', async () => (await served(page)) === 16384 && !(await parts(page)).some((part) => part.title.startsWith(victim)));
  await until('slotcar is ready', async () => /Ready/.test(await textOf(page, '#ready-word')));
  ok((await kindsOf(page)).includes('node down'));
  match((await cells(page, 'nodes')).find((row) => row[0] === victim)?.[2] ?? 'down', /^down/, 'the dead node is down, or gone');
  match(await page.locator('#line').getAttribute('aria-label'), /1 failover/);
  equal(await page.locator('#line .mark title', { hasText: 'failover' }).count(), 1);
  await until('the end of the hold', async () => (await kindsOf(page)).includes('holding over'));
  const held = await page.locator('#line rect.mark').evaluateAll((all) => all.map((each) => Number(each.getAttribute('width'))));
  ok(held.length > 0 && held.every((width) => width < 100), `bars of ${held} pixels`);
  const before = page.statuses.length;
  await until('requests go on', async () => page.statuses.length > before + 7 && /Requests\/s\n[1-9]/.test(await textOf(page, '#tiles')));
  await picture(page, 'real-failover-wide-light');
  await page.emulateMedia({ colorScheme: 'dark' });
  await picture(page, 'real-failover-wide-dark');
  await page.setViewportSize(SMALL);
  equal(await sideways(page), 0);
  await picture(page, 'real-failover-small-dark');
  deepEqual(await barriers(page), []);
});

check('the keyboard is enough', async () => {
  const page = await lookAtAll();
  await page.locator('#pause').evaluate((each) => each.click());
  const all = await reachable(page), stops = await tabThrough(page);
  equal(stops.length, all);
  deepEqual(stops.filter((stop) => !stop.seen || !stop.marked), []);
  await page.locator('#pause').press('Enter');
  await page.locator('#nodes thead button', { hasText: 'Requests/s' }).press('Enter');
  const rates = (await cells(page, 'nodes')).map((row) => row[4]).filter((text) => text !== '–').map((text) => number(text.replace('< ', '')));
  deepEqual(rates, [...rates].sort((a, b) => b - a));
});

check('a slotcar that is stopped does not answer, and then it does', async () => {
  const page = await lookAtAll();
  page.maybeSilent = true;
  process.kill(Number(PAGE_SLOTCAR), 'SIGSTOP');
  try {
    await until('it is told', () => page.locator('#silent').isVisible());
    match(await textOf(page, '#silent'), /slotcar does not answer/);
  } finally {
    process.kill(Number(PAGE_SLOTCAR), 'SIGCONT');
  }
  await until('it is over', async () => !(await page.locator('#silent').isVisible()));
});

run('real');
