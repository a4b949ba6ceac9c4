// The web UI in a real browser. With PILOTHOUSE_URL (the address that `pilothouse serve` prints, with its token) it
// looks at that one; without, at a simulated engine behind the same door. Pictures go to artefacts/browser/.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { artefacts, axeFindings, eventually, launch, openPage, PANEL, WINDOW } from '../browser.mjs';
import { startSimulated } from '../simulated-server.mjs';

// A real model on a slow machine takes its time: these bound a hang, they are no assertion on speed.
const SWITCH_MS = 180_000;
const BENCH_MS = 300_000;
const ANSWER_MS = 120_000;

const PAGES = [
  ...['now', 'models', 'scenes', 'traffic', 'memory', 'servers', 'benchmarks', 'history'],
  ...['connect', 'settings', 'events', 'log'],
];
const real = process.env.PILOTHOUSE_URL;
const { browser, why } = await launch();

describe(`the web UI (${real ? 'of a running Pilothouse' : 'simulated engine'})`, { skip: why ?? false }, () => {
  let simulated = null;
  let url = real;

  before(async () => {
    if (real) return;
    simulated = await startSimulated();
    url = `${simulated.origin}/#token=ready-suite`;
  });

  after(async () => {
    await simulated?.stop();
    await browser?.close();
  });

  async function open(options) {
    const page = await openPage(browser, url, options);
    page.setDefaultTimeout(30_000);
    return page;
  }

  async function goTo(page, name) {
    await page.evaluate((hash) => (location.hash = hash), `#/${name}`);
    await page.waitForFunction(
      (title) => document.title.startsWith(title),
      `${name[0].toUpperCase()}${name.slice(1)} `,
    );
  }

  /** Ends a test's page; anything that the page itself reported as an error fails the test. */
  async function close(page) {
    const { faults } = page;
    await page.context().close();
    assert.deepEqual(faults, []);
  }

  it('loads, and takes the token out of the address', async () => {
    const page = await open();
    await page.getByTestId('active-model').waitFor();
    await page.getByTestId('gauge-memory').waitFor();
    assert.doesNotMatch(page.url(), /token/);
    await page.reload();
    await page.getByTestId('active-model').waitFor();
    await close(page);
  });

  it('shows how to get a fresh address when the token is wrong', async () => {
    const page = await openPage(browser, `${new URL(url).origin}/#token=wrong`);
    await page.getByTestId('unauthorized').getByText('pilothouse status').waitFor();
    assert.deepEqual(await axeFindings(page), []);
    await close(page);
  });

  it('switches with a click on a model and shows what is active', async () => {
    const page = await open();
    const row = page.locator('[data-testid="model-row"]:not([aria-current]):not(:has(.attention))').first();
    const id = await row.getAttribute('data-id');
    await row.click();
    await page.locator(`[data-testid="active-model"][data-id="${id}"]`).waitFor({ timeout: SWITCH_MS });
    await eventually(
      () => page.locator(`[data-testid="model-row"][data-id="${id}"]`).getAttribute('aria-current'),
      'true',
    );
    await page.screenshot({ path: join(artefacts, 'switched.png') });
    await close(page);
  });

  it('answers a prompt piece by piece and says who answered', async () => {
    const page = await open();
    await page.getByTestId('ask-prompt').fill('What is a pilothouse? Answer in one sentence.');
    await page.getByTestId('ask-send').click();
    await page.getByTestId('answer').waitFor({ timeout: ANSWER_MS });
    await page.locator('[data-testid="answer"][data-state="done"]').waitFor({ timeout: ANSWER_MS });
    assert.ok((await page.getByTestId('answer').innerText()).length > 3);
    const active = await page.getByTestId('active-model').innerText();
    const by = await page.getByTestId('answer-by').innerText();
    assert.ok(by.startsWith(active), `“${by}” names “${active}”`);
    assert.match(by, /tok\/s/);
    await page.screenshot({ path: join(artefacts, 'answer.png') });
    await close(page);
  });

  it('runs a quick benchmark, and history has it after a reload', async () => {
    const page = await open();
    await goTo(page, 'benchmarks');
    await page.getByText('Reading history').waitFor({ state: 'detached' });
    const before = await rowIds(page);
    await page.getByTestId('bench-start').click();
    await page.getByTestId('bench-progress').waitFor();
    const row = await newRow(page, before, BENCH_MS);
    await page.screenshot({ path: join(artefacts, 'benchmarks.png') });

    await page.locator(`[data-testid="run-row"][data-id="${row}"]`).getByRole('link').click();
    await page.getByTestId('run-page').getByRole('heading', { level: 2, name: 'Trials' }).waitFor();
    assert.deepEqual(await axeFindings(page), []);
    await page.screenshot({
      path: join(artefacts, 'run.png'),
      fullPage: true,
    });

    await goTo(page, 'history');
    await page.reload();
    await page.locator(`[data-testid="run-row"][data-id="${row}"]`).waitFor();
    await page.screenshot({ path: join(artefacts, 'history.png') });
    await close(page);
  });

  it('is used by keyboard: / filters, arrows move, ? lists the keys', async () => {
    const page = await open();
    await page.getByTestId('model-row').first().waitFor();
    await page.keyboard.press('/');
    await page.keyboard.press('ArrowDown');
    await eventually(() => page.evaluate(() => document.activeElement?.getAttribute('data-testid')), 'model-row');
    await page.keyboard.press('?');
    await page.getByRole('dialog', { name: 'Keys' }).waitFor();
    assert.deepEqual(await axeFindings(page), []);
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.keyboard.press('7');
    await page.getByRole('heading', { level: 1, name: 'Benchmarks' }).waitFor();
    await close(page);
  });

  it('shows the log of a server', async () => {
    const page = await open();
    await goTo(page, 'servers');
    await page
      .getByTestId('server-card')
      .first()
      .getByRole('link', { name: /^Log of/ })
      .click();
    await page.getByRole('heading', { level: 1, name: 'Log' }).waitFor();
    await page.getByText('Reading the log').waitFor({ state: 'detached' });
    await page.locator('[data-testid="log-lines"] li').first().waitFor();
    await close(page);
  });

  for (const scheme of ['light', 'dark']) {
    for (const [shape, size] of [
      ['window', WINDOW],
      ['panel', PANEL],
    ]) {
      it(`axe finds nothing: ${shape}, ${scheme}`, async () => {
        const page = await open({ scheme, size });
        await page.getByTestId('active-model').waitFor();
        const findings = [];
        for (const name of PAGES) {
          await goTo(page, name);
          await page
            .getByText(/^Reading (history|the log|the events|the machine|the settings)$/)
            .waitFor({ state: 'detached' });
          findings.push(...(await axeFindings(page)).map((finding) => `${name}: ${finding}`));
          await page.screenshot({
            path: join(artefacts, `${shape}-${name}-${scheme}.png`),
          });
        }
        assert.deepEqual(findings, []);
        await close(page);
      });
    }
  }
});

async function rowIds(page) {
  return page.getByTestId('run-row').evaluateAll((rows) => rows.map((row) => row.getAttribute('data-id')));
}

/** Waits for a finished run that was not in the table before; one that fails ends the wait with what the page says. */
async function newRow(page, before, timeout) {
  const handle = await page.waitForFunction(
    (known) => {
      const rows = [...document.querySelectorAll('[data-testid="runs-table"] [data-testid="run-row"]')];
      const row = rows.find((one) => one.dataset.state !== 'running' && !known.includes(one.dataset.id));
      const refused = document.querySelector('[role="alert"]')?.innerText;
      return row ? { id: row.dataset.id, state: row.dataset.state } : refused && { refused };
    },
    before,
    { timeout },
  );
  const end = await handle.jsonValue();
  const said = (await page.getByRole('alert').allInnerTexts()).join('\n');
  assert.equal(end.state, 'done', end.refused ?? said);
  return end.id;
}
