// What the status page shows and does, before made-up status.
//
//     NODE_PATH=…/node_modules node behaviour.js URL SCREENSHOTS
'use strict';

const assert = require('node:assert/strict');
const { SMALL, WIDE, barriers, cells, parts, reachable, requests, slowDown, tabThrough, textOf } = require('./browser.js');
const { base, check, mock, pause, picture, run, setOpen, until, visit } = require('./visit.js');

const { equal, deepEqual, match, ok } = assert;
const fourPolls = (page) => until('four polls', () => page.statuses.length >= 4);

// Everything that is said aloud from now on.
async function listen(page) {
  const said = [];
  await page.exposeFunction('remember', (text) => said.push(text));
  await page.evaluate(() => new MutationObserver(() => window.remember(document.getElementById('live').textContent))
    .observe(document.getElementById('live'), { childList: true }));
  return said;
}

check('slots are a picture, words and a table', async () => {
  const page = await visit('cluster');
  await fourPolls(page);
  deepEqual((await parts(page)).map((part) => part.title), [
    '127.0.0.1:7001: slots 0–5460', '127.0.0.1:7002: slots 5461–10921', '127.0.0.1:7003: slots 10922–16383']);
  match(await page.locator('#bar').getAttribute('aria-label'), /16,384 slots: 127\.0\.0\.1:7001 5,461, .* 0 served by nobody/);
  deepEqual((await cells(page, 'slots-as-table')).map((row) => row.slice(0, 2)), [
    ['127.0.0.1:7001', '5,461'], ['127.0.0.1:7002', '5,461'], ['127.0.0.1:7003', '5,462']]);
});

check('slots that nobody serves, and primaries that do not answer', async () => {
  const page = await visit('unserved');
  await fourPolls(page);
  const found = await parts(page);
  deepEqual(found.filter((part) => part.unserved).map((part) => part.title), ['nobody: slots 8000–8199', 'nobody: slots 12000–12000']);
  ok(found.every((part) => part.width >= 3), 'a single slot can be seen');
  equal(found.filter((part) => part.away).length, 2);
  match(await textOf(page, '#ready'), /Not ready[^]*201 slots are served by nobody[^]*127\.0\.0\.1:7003 does not answer/);
  match(await textOf(page, '#slots .count'), /16,183 served by 3 primaries, 201 unserved/);
  deepEqual((await cells(page, 'nodes'))[2].slice(0, 3), ['127.0.0.1:7003', 'primary', 'down: no answer for 4 s']);
});

check('rates and percentiles are the differences of the last five seconds', async () => {
  const page = await visit('cluster', { at: 20, inHurry: false });
  const start = performance.now();
  await until('seven polls', () => page.statuses.length >= 7);
  const took = performance.now() - start;
  ok(took > 5000 && took < 12000, `once a second: ${took} ms for seven polls`);
  ok(requests.includes(`${base}cluster/status`), 'asks where the page is');
  await page.locator('#pause').click();
  const [first, newest] = [page.statuses.at(-6), page.statuses.at(-1)];
  const shown = (await textOf(page, '#tiles')).replaceAll(',', '');
  const expected = (newest.services[0].totals.requests - first.services[0].totals.requests) / 5;
  ok(shown.includes(`\n${Math.round(expected)}\n`), `${expected} requests/s, not ${shown}`);
  const counts = newest.services[0].latency.node.map((count, index) => count - first.services[0].latency.node[index]);
  const total = counts.reduce((sum, count) => sum + count);
  let below = 0;
  const bucket = counts.findIndex((count) => (below += count) >= total * 0.99);
  const [, number, unit] = /p99 at the nodes\n(\S+) (\S+)/.exec(shown);
  const seconds = number * { 'µs': 1e-6, ms: 1e-3, s: 1 }[unit];
  const { bounds } = newest.services[0].latency;
  ok(seconds >= (bounds[bucket - 1] ?? 0) * 0.99 && seconds <= bounds[bucket] * 1.01, `p99 ${seconds} within bucket ${bounds[bucket]}`);
  const rows = await cells(page, 'nodes');
  equal(rows.length, 6);
  for (const [index, row] of rows.slice(0, 3).entries()) {
    const rate = (newest.services[0].nodes[index].requests - first.services[0].nodes[index].requests) / 5;
    equal(row[4].replace(',', ''), String(Math.round(rate)), `requests/s of ${row[0]}`);
    match(row[5], /µs|ms/);
  }
  equal((await cells(page, 'stages')).length, 3);
});

check('a failover is on the time line, in the list and said aloud', async () => {
  const page = await visit('cluster', { at: 60 });
  const said = await listen(page);
  const colour = (await until('slots', async () => (await parts(page)).length === 3), (await parts(page))[0].colour);
  await until('not ready', () => said.some((text) => text.includes('slotcar is not ready: slots 0-5460')));
  await until('the node is back', () => said.some((text) => text.includes('node up')));
  const text = said.join('\n');
  match(text, /node down: 127\.0\.0\.1:7001: connection refused/);
  match(text, /failover: 127\.0\.0\.1:7004 took over 5461 slots/);
  match(text, /slotcar is ready\./);
  ok(said.length < 8, `said aloud: ${said.length} times`);
  const rows = await cells(page, 'events');
  deepEqual(rows.map((row) => row[1]), ['node up', 'holding over', 'topology', 'failover', 'holding', 'node down', 'topology', 'start']);
  match(rows[3][2], /127\.0\.0\.1:7004 took over 5461 slots from 127\.0\.0\.1:7001/);
  match(await page.locator('#line').getAttribute('aria-label'), /1 failover/);
  equal(await page.locator('#line .mark title', { hasText: 'failover' }).count(), 1);
  equal(await page.locator('#line rect.mark').count(), 1, 'a bar for the time of holding');
  equal((await parts(page))[0].title, '127.0.0.1:7004: slots 0–5460');
  equal((await parts(page))[0].colour, colour, 'the shard keeps its colour');
  await page.locator('#ranges button', { hasText: 'All' }).focus();
  await page.keyboard.press('Enter');
  equal(await page.locator('#ranges [aria-pressed="true"]').innerText(), 'All');
});

check('the end of a hold alone is a bar as long as it says', async () => {
  const page = await visit('two');
  await fourPolls(page);
  const [bar] = await page.locator('#line rect.mark').evaluateAll((all) => all.map((each) => Number(each.getAttribute('width'))));
  // 6 s of 5 minutes.
  ok(bar > 18 && bar < 28, `${bar} pixels`);
});

check('says clearly when slotcar does not answer', async () => {
  const page = await visit('cluster');
  const said = await listen(page);
  page.maybeSilent = true;
  await until('the first answer', () => page.statuses.length > 1);
  for (const [way, words] of [['close', /slotcar does not answer\. Since \d\d:/], ['hang', /nothing within 3 s/], ['error', /does not say its status.*HTTP 503/],
    ['garbage', /does not say its status/]]) {
    await mock('cluster', `answer/${way}`);
    await until(`words for ${way}`, async () => (await page.locator('#silent').isVisible()) && words.test(await textOf(page, '#silent')));
    match(await page.title(), /NO ANSWER/);
    ok(!(await page.locator('#ready').isVisible()), 'it does not claim to be ready');
    if (way === 'close') await picture(page, 'silent-wide-light');
    if (way === 'close') deepEqual(await barriers(page), []);
    await mock('cluster', 'answer/ok');
    await until('it is over', async () => !(await page.locator('#silent').isVisible()));
  }
  ok(said.includes('slotcar does not answer.') && said.some((text) => text.includes('slotcar answers again.')), said.join('|'));
});

check('starts again when slotcar does', async () => {
  const page = await visit('cluster', { at: 50 });
  const said = await listen(page);
  await fourPolls(page);
  await mock('cluster', 'at/0');
  await until('it was noticed', () => said.some((text) => text.includes('slotcar was restarted')));
  await pause(300);
  ok(!/-\d/.test(await textOf(page, '#tiles')), 'no rate is negative');
});

check('pauses by the keyboard, and while nobody looks', async () => {
  const page = await visit('cluster', { inHurry: false });
  await until('the first answer', () => page.statuses.length > 0);
  const isStill = async () => {
    const before = page.asked;
    await pause(1500);
    return page.asked <= before;
  };
  const goesOn = (before = page.asked) => until('it goes on', () => page.asked > before);
  await page.keyboard.press('Tab');
  equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to the content');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  equal(await textOf(page, '#pause'), 'Resume');
  await pause(200);
  ok(await isStill(), 'paused');
  match(await textOf(page, '#updated'), /paused at/);
  await page.keyboard.press('Space');
  await goesOn();
  await page.evaluate(() => {
    Object.defineProperty(document, 'hidden', { configurable: true, value: true });
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await pause(1200);
  ok(await isStill(), 'hidden');
  await page.evaluate(() => {
    delete document.hidden;
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await goesOn();
});

check('Tab reaches everything once, visibly, and leaves', async () => {
  for (const [scenario, size] of [['two', WIDE], ['cluster', SMALL]]) {
    const page = await visit(scenario, { size });
    await fourPolls(page);
    await setOpen(page, 'details', true);
    await pause(200);
    await slowDown(page);
    // Not by a real click: Tab would go on from there.
    await page.locator('#pause').evaluate((each) => each.click());
    await pause(200);
    const all = await reachable(page), stops = await tabThrough(page);
    equal(stops.length, all, `${stops.length} of ${all} in ${scenario}`);
    equal(stops[0].name, 'Skip to the content');
    deepEqual(stops.filter((stop) => !stop.seen || !stop.marked), []);
    ok(stops.every((stop) => stop.name), 'all have names');
  }
});

check('the skip link leads to the content', async () => {
  const page = await visit('cluster');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  equal(await page.evaluate(() => document.activeElement.id), 'content');
});

check('tables are sorted by the keyboard', async () => {
  const page = await visit('cluster');
  await fourPolls(page);
  const button = page.locator('#clients thead button', { hasText: 'Idle' }), head = page.locator('#clients th', { hasText: 'Idle' });
  const idle = async () => (await cells(page, 'clients')).map((row) => ({ 0: 0, '4.0 s': 4, '90 s': 90 })[row[4]]);
  equal(await head.getAttribute('aria-sort'), 'none');
  for (const [key, sort, sign] of [['Enter', 'descending', -1], ['Space', 'ascending', 1]]) {
    await button.focus();
    await page.keyboard.press(key);
    equal(await head.getAttribute('aria-sort'), sort);
    deepEqual(await idle(), (await idle()).sort((a, b) => sign * (a - b)));
    equal(await page.locator('#clients [aria-sort]:not([aria-sort="none"])').count(), 1);
  }
  // By numbers in names too: 127.0.0.1:50000 after nothing shorter.
  await page.locator('#nodes thead button', { hasText: 'p99' }).press('Enter');
  ok((await cells(page, 'nodes')).slice(-3).every((row) => row[6] === '–'), 'what has no value comes last');
});

check('sections are closed and opened by the keyboard', async () => {
  const page = await visit('cluster');
  await fourPolls(page);
  for (const [id, opens] of [['words', true], ['slots-as-table', true], ['clients', false]]) {
    await page.locator(`#${id} > summary`).focus();
    await page.keyboard.press('Enter');
    equal(await page.locator(`#${id}`).evaluate((each) => each.open), opens);
    await page.keyboard.press('Space');
    equal(await page.locator(`#${id}`).evaluate((each) => each.open), !opens);
  }
});

check('300 nodes, 200 events: scrolled by the keyboard, without strain', async () => {
  const page = await visit('many', { inHurry: false });
  await fourPolls(page);
  equal((await cells(page, 'nodes')).length, 300);
  equal((await cells(page, 'events')).length, 200);
  equal((await cells(page, 'clients')).length, 100);
  match(await textOf(page, '#clients .count'), /100 of 523 are shown/);
  const region = page.locator('#nodes .scroll');
  await region.focus();
  await page.keyboard.press('PageDown');
  await page.keyboard.press('ArrowRight');
  await until('it has scrolled', () => region.evaluate((each) => each.scrollTop > 100));
  await page.setViewportSize(SMALL);
  await region.focus();
  await page.keyboard.press('ArrowRight');
  await until('it has scrolled sideways', () => region.evaluate((each) => each.scrollLeft > 0));
  await page.setViewportSize(WIDE);
  const elements = () => page.evaluate(() => document.getElementsByTagName('*').length);
  const session = await page.context().newCDPSession(page);
  // The time of the page's thread, without that of others on the machine.
  await session.send('Performance.enable', { timeDomain: 'threadTicks' });
  const busy = async () => (await session.send('Performance.getMetrics')).metrics.find(({ name }) => name === 'TaskDuration').value;
  const [count, polls, before] = [await elements(), page.statuses.length, await busy()];
  await until('five polls', () => page.statuses.length >= polls + 5);
  const milliseconds = (1000 * ((await busy()) - before)) / (page.statuses.length - polls);
  console.log(`# ${milliseconds.toFixed(0)} ms of the page's thread for each poll with 300 nodes`);
  ok(milliseconds < 250, `${milliseconds} ms for each poll`);
  ok(Math.abs((await elements()) - count) < 200, 'elements do not pile up');
});

check('names that would do harm are shown as they are', async () => {
  const page = await visit('hostile');
  await until('all events', () => page.statuses.length > 16);
  ok(!(await page.title()).includes('harmed'));
  equal(await page.locator('img, main script, iframe').count(), 0);
  const keys = (await cells(page, 'hot')).map((row) => row[0]);
  for (const [index, text] of ['<img src=x onerror="document.title=\'harmed\'">', '<script>document.title=\'harmed\'</script>',
    'line\\nbreak\\r\\ttab\\x00\\x07\\x1b[31m', '\\xff\\xfe not UTF-8', '\\u{202e}gnirts desrever', '\\u{d800} alone', '&lt;b&gt; &amp;'].entries()) {
    equal(keys[index], text);
  }
  match(keys[7], /^k{300}…$/);
  match(await textOf(page, '#slow'), /GET <img src=x/);
  match(await textOf(page, '#clients'), /<script>/);
  match(await textOf(page, '#events'), /__proto__/);
});

check('several services are chosen by the keyboard', async () => {
  const page = await visit('two');
  await fourPolls(page);
  await page.locator('#services button').nth(1).focus();
  await page.keyboard.press('Enter');
  await until('its node', async () => (await cells(page, 'nodes')).length === 1);
  equal((await cells(page, 'nodes'))[0][0], 'cache.internal:6379');
  equal((await parts(page)).length, 1);
  equal(await page.locator('#services [aria-current="true"]').innerText(), '127.0.0.1:6380');
  match(await textOf(page, '#facts'), /127\.0\.0\.1:6380 → redis:\/\/cache\.internal/);
});

check('Sentinels: one block; nothing known yet; draining', async () => {
  const one = await visit('sentinel');
  await fourPolls(one);
  deepEqual((await parts(one)).map((part) => part.title), ['10.0.0.1:6379: slots 0–16383']);
  equal(await one.locator('#bar').getAttribute('aria-label'), '10.0.0.1:6379 has all keys');
  const nothing = await visit('starting');
  await fourPolls(nothing);
  match(await textOf(nothing, '#ready'), /Not ready\s+no topology yet/);
  match(await textOf(nothing, '#nodes'), /No node is known yet/);
  const draining = await visit('draining');
  await fourPolls(draining);
  match(await textOf(draining, '#ready'), /Draining/);
});

check('moves nothing for those who do not want it', async () => {
  const page = await visit('cluster', { reducedMotion: 'reduce' });
  await fourPolls(page);
  const moving = await page.evaluate(() => [...document.querySelectorAll('*')].filter((each) => {
    const style = getComputedStyle(each);
    return style.animationName !== 'none' || parseFloat(style.transitionDuration) > 0;
  }).length);
  equal(moving, 0);
});

run('page');
