// The status page light and dark, wide and small: nobody is kept out, and how it looks.
//
//     NODE_PATH=…/node_modules node looks.js URL SCREENSHOTS
'use strict';

const assert = require('node:assert/strict');
const { SMALL, WIDE, barriers, sideways, slowDown } = require('./browser.js');
const { check, picture, run, setOpen, until, visit } = require('./visit.js');

const { equal, deepEqual } = assert;
const SCENARIOS = ['cluster', 'unserved', 'many', 'hostile', 'sentinel', 'two', 'starting', 'draining'];
// What can differ is seen with a cluster; elsewhere two looks are enough, or the second alone.
const SPANS = { cluster: [0, 4], sentinel: [1, 2], starting: [1, 2], two: [1, 2] };
const LOOKS = { 'wide-light': [WIDE, 'light'], 'small-dark': [SMALL, 'dark'], 'wide-dark': [WIDE, 'dark'], 'small-light': [SMALL, 'light'] };
const PAPERS = { light: 'rgb(255, 255, 255)', dark: 'rgb(20, 23, 27)' };

for (const scenario of SCENARIOS) {
  const looks = Object.entries(LOOKS).slice(...(SPANS[scenario] ?? [0, 2]));
  check(`no barriers and nothing sideways, ${scenario}: ${looks.map(([name]) => name)}`, async () => {
    const page = await visit(scenario, { at: scenario === 'cluster' ? 5 : 0 });
    // With the cluster long enough for a failover and two minutes of lines.
    await until('enough polls', () => page.statuses.length > (scenario === 'cluster' ? 120 : 8), 40);
    await slowDown(page);
    for (const [name, [size, scheme]] of looks) {
      await page.emulateMedia({ colorScheme: scheme });
      await page.setViewportSize(size);
      await setOpen(page, 'details', true);
      equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), PAPERS[scheme]);
      equal(await sideways(page), 0, `${name} scrolls sideways`);
      // 300 nodes have the same elements many times; once is enough.
      if (scenario !== 'many' || name === 'small-dark') deepEqual(await barriers(page), [], name);
      await setOpen(page, '#words, #slots-as-table', false);
      await picture(page, `${scenario}-${name}`);
    }
  });
}

run('look');
