// The browser of these tests: the system's own Chromium, found on the PATH or named by PILOTHOUSE_CHROMIUM.
import assert from 'node:assert/strict';
import { accessSync, constants, mkdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { delimiter, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { chromium } from 'playwright-core';

const root = fileURLToPath(new URL('../../', import.meta.url));
export const artefacts = join(root, 'artefacts/browser');

function findChromium() {
  if (process.env.PILOTHOUSE_CHROMIUM) return process.env.PILOTHOUSE_CHROMIUM;
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    for (const name of ['chromium', 'chromium-browser', 'google-chrome']) {
      try {
        accessSync(join(folder, name), constants.X_OK);
        return join(folder, name);
      } catch {
        // Not here: the next folder may have it.
      }
    }
  }
  return null;
}

/** Starts the browser, or says why it cannot (the tests are then skipped, not passed). */
export async function launch() {
  const executablePath = findChromium();
  if (executablePath === null)
    return {
      browser: null,
      why: 'no Chromium on the PATH; set PILOTHOUSE_CHROMIUM',
    };
  mkdirSync(artefacts, { recursive: true });
  const browser = await chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-gpu'],
  });
  return { browser, why: null };
}

export const WINDOW = { width: 1180, height: 820 };
export const PANEL = { width: 400, height: 620 };

/** A page of its own context; what the page reports as errors is collected in `page.faults`. */
export async function openPage(browser, url, { scheme = 'light', size = WINDOW } = {}) {
  const context = await browser.newContext({
    colorScheme: scheme,
    viewport: size,
    reducedMotion: 'reduce',
  });
  const page = await context.newPage();
  page.faults = [];
  page.on('pageerror', (error) => page.faults.push(String(error)));
  page.on('console', (message) => {
    if (/Content Security Policy/i.test(message.text())) page.faults.push(message.text());
  });
  await page.goto(url);
  return page;
}

const axeSource = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** What axe finds on the page as it stands, in words. What a page shows only on its way to that (a line that fades in) is not it. */
export async function axeFindings(page) {
  await page.evaluate(axeSource);
  let found = [];
  for (let look = 0; look < 3; look += 1) {
    const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
    found = violations.map(
      (one) =>
        `${one.id}: ${one.help}; ${one.nodes.map((node) => `${node.target.join(' ')} ${node.failureSummary}`).join(' | ')}`,
    );
    if (found.length === 0) break;
    await setTimeout(400);
  }
  return found;
}

/**
 * Looks until it sees what is expected. A page draws what it was told a moment later, and on a busy machine much later: a
 * single look would be a race. What never comes, or does not stay away, fails with the last look.
 */
export async function eventually(look, expected, message) {
  const end = Date.now() + 30_000;
  for (;;) {
    const seen = await look();
    if (isDeepStrictEqual(seen, expected)) return;
    if (Date.now() > end) assert.deepEqual(seen, expected, message);
    await setTimeout(50);
  }
}
