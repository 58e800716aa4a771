// A headless Chromium that remembers everything it asked for and complained about.
'use strict';

const { chromium } = require('playwright-core');
const axe = require('axe-core');

const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];
const WIDE = { width: 1280, height: 900 };
const SMALL = { width: 360, height: 640 };

let browser;
const requests = [];
const complaints = [];

// In a hurry the page asks again after 15 ms instead of a second, so that two minutes pass in a few seconds.
function hurry() {
  const later = window.setTimeout;
  window.inHurry = true;
  window.setTimeout = (run, ms) => later(run, window.inHurry && ms <= 1000 ? 15 : ms);
}

// Complaints that are part of a check: what Chromium says when there is no answer.
const isAboutSilence = (text) => /Failed to load resource|net::ERR_/.test(text);

async function open(url, { size = WIDE, scheme = 'light', inHurry = false, reducedMotion = 'no-preference' } = {}) {
  browser ??= await chromium.launch({ executablePath: '/usr/bin/chromium', args: FLAGS });
  const context = await browser.newContext({ viewport: size, colorScheme: scheme, reducedMotion });
  const page = await context.newPage();
  page.statuses = [];
  page.asked = 0;
  context.on('request', (request) => {
    requests.push(request.url());
    if (request.url().endsWith('/status')) page.asked += 1;
  });
  page.on('websocket', (socket) => requests.push(socket.url()));
  page.on('response', async (response) => {
    if (response.url().endsWith('/status') && response.ok()) page.statuses.push(await response.json().catch(() => null));
  });
  page.on('console', (message) => {
    if (message.type() === 'error' && !(page.maybeSilent && isAboutSilence(message.text()))) complaints.push(`${url}: ${message.text()}`);
  });
  page.on('pageerror', (error) => complaints.push(`${url}: ${error.stack}`));
  if (inHurry) await page.addInitScript(hurry);
  page.firstAnswer = await page.goto(url);
  return page;
}

const close = (page) => page.context().close();
const end = () => browser?.close();
const slowDown = (page) => page.evaluate(() => { window.inHurry = false; });
const textOf = (page, selector) => page.locator(selector).innerText();

// The texts of a table, cell by cell.
const cells = (page, section) => page.evaluate((id) =>
  [...document.querySelectorAll(`#${id} > .table tbody tr`)].map((row) => [...row.cells].map((cell) => cell.textContent.trim())), section);

// The slots as they are drawn.
const parts = (page) => page.evaluate(() => [...document.querySelectorAll('#bar div')].map((part) => ({
  title: part.title, unserved: part.classList.contains('unserved'), away: part.classList.contains('away'),
  colour: part.style.backgroundColor, width: part.getBoundingClientRect().width,
})));

// What axe-core finds that keeps people out.
async function barriers(page) {
  const session = await page.context().newCDPSession(page);
  // The policy of the page forbids nothing here: this is the browser's own door.
  await session.send('Runtime.evaluate', { expression: axe.source });
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  return found.violations.filter(({ impact }) => ['serious', 'critical'].includes(impact))
    .map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.target} ${node.failureSummary}`).join(' | ')}`);
}

// Presses Tab until the focus has left the page; gives what had it, in order. A trap never ends.
async function tabThrough(page, most = 400) {
  await page.evaluate(() => { document.activeElement?.blur(); window.scrollTo(0, 0); });
  const stops = [];
  for (let index = 0; index < most; index++) {
    await page.keyboard.press('Tab');
    const stop = await page.evaluate(() => {
      const at = document.activeElement;
      if (!at || at === document.body) return null;
      window.stopNumbers ??= new WeakMap();
      const again = window.stopNumbers.has(at);
      window.stopNumbers.set(at, true);
      const box = at.getBoundingClientRect(), style = getComputedStyle(at);
      return {
        again, name: at.innerText?.split('\n')[0] || at.getAttribute('aria-label'), tag: at.tagName,
        seen: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
        marked: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
      };
    });
    if (!stop || stop.again) return stops;
    stops.push(stop);
  }
  throw new Error(`still in the page after ${most} times Tab`);
}

// How many elements a keyboard must be able to reach.
const reachable = (page) => page.evaluate(() =>
  [...document.querySelectorAll('a[href], button, summary, [tabindex="0"]')].filter((each) => each.checkVisibility()).length);

const sideways = (page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);

module.exports = { SMALL, WIDE, barriers, cells, close, complaints, end, open, parts, reachable, requests, sideways, slowDown, tabThrough, textOf };
