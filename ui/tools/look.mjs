// Takes pictures of every page and scene in both schemes, and lets axe look at each: `node ui/tools/look.mjs [folder]`.
// For people who change the UI; not part of what is shipped.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { artefacts, axeFindings, launch, openPage, PANEL, WINDOW } from '../../tests/browser/browser.mjs';
import { startSimulated } from '../../tests/browser/simulated-server.mjs';

const folder = process.argv[2] ?? join(artefacts, 'look');
const shots = [
  ...['now', 'models', 'servers', 'memory', 'benchmarks', 'benchmarks/7', 'history', 'log'].map((route) => [
    'ready',
    route,
    WINDOW,
  ]),
  ['trouble', 'now', WINDOW],
  ['trouble', 'servers', WINDOW],
  ['empty', 'now', WINDOW],
  ['empty', 'history', WINDOW],
  ['gpu', 'now', WINDOW],
  ['gpus', 'now', WINDOW],
  ['gpus', 'now', PANEL],
  ['gpu', 'memory', WINDOW],
  ['mac', 'now', WINDOW],
  ['mac', 'memory', WINDOW],
  ['ready', 'memory/ollama%2Fqwen2.5:72b', { width: 1100, height: 1400 }],
  ['ready', 'memory', PANEL],
  ['mac', 'now', PANEL],
  ['first-start', 'now', WINDOW],
  ['first-start', 'now', PANEL],
  ['ready', 'now', { width: 400, height: 1000 }],
  ['ready', 'now', PANEL],
  ['ready', 'servers', PANEL],
  ['ready', 'benchmarks', PANEL],
  ['trouble', 'now', PANEL],
  ['offline', 'now', PANEL],
  ['none', 'now', WINDOW],
  ...[400, 1024, 1440, 2560].flatMap((width) => [
    ['many', 'models', { width, height: 900 }],
    ['names', 'models', { width, height: 900 }],
  ]),
  ['many', 'models/lmstudio%2Fqwen2.5-7b-instruct-mlx', { width: 1440, height: 900 }],
  ['many', 'now', PANEL],
  ['names', 'now', PANEL],
  ['many', 'log/ollama', WINDOW],
];

const { browser, why } = await launch();
if (browser === null) throw new Error(why);
mkdirSync(folder, { recursive: true });
const simulated = await startSimulated({ step: 500 });
let found = 0;
try {
  for (const scheme of ['light', 'dark']) {
    for (const [scene, route, size] of shots) {
      const page = await openPage(browser, `${simulated.origin}/#token=${scene}-${scheme}-${route}`, { scheme, size });
      await page.evaluate((hash) => (location.hash = hash), `#/${route}`);
      await page.waitForTimeout(scene === 'offline' ? 4500 : 900);
      const name = `${scene}-${route.replace(/[^a-z0-9]+/g, '-')}-${size.width}x${size.height}-${scheme}`;
      await page.screenshot({ path: join(folder, `${name}.png`) });
      for (const finding of [...(await axeFindings(page)), ...page.faults]) {
        found += 1;
        console.log(`${name}: ${finding}`);
      }
      await page.context().close();
    }
  }
} finally {
  await browser.close();
  await simulated.stop();
}
console.log(`${shots.length * 2} pictures in ${folder}, ${found} findings`);
