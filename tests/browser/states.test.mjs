// States that cannot be had from a healthy engine at will: first start, trouble, offline. Simulated engine only.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { artefacts, axeFindings, launch, openPage, PANEL } from './browser.mjs';
import { startSimulated } from './simulated-server.mjs';

const { browser, why } = await launch();

describe('states of the web UI (simulated engine)', { skip: why ?? false }, () => {
  let simulated;

  before(async () => {
    simulated = await startSimulated({ step: 300 });
  });

  after(async () => {
    await simulated?.stop();
    await browser?.close();
  });

  async function scene(name, test, options = {}) {
    const page = await openPage(browser, `${simulated.origin}/#token=${name}-${test}`, options);
    page.setDefaultTimeout(30_000);
    return page;
  }

  async function checked(page, name) {
    await page.screenshot({ path: join(artefacts, `state-${name}.png`) });
    assert.deepEqual(await axeFindings(page), []);
    assert.deepEqual(page.faults, []);
    await page.context().close();
  }

  it('first start: one button fetches, and then there is a model to switch to', async () => {
    const page = await scene('first-start', 'fetch', { size: PANEL });
    await page.getByTestId('first-start').waitFor();
    await page.screenshot({ path: join(artefacts, 'state-first-start.png') });
    assert.deepEqual(await axeFindings(page), []);
    await page.getByTestId('setup-start').click();
    await page.getByRole('progressbar').waitFor();
    await page.getByTestId('model-row').first().waitFor();
    await checked(page, 'first-start-done');
  });

  it('trouble: a banner, notices that can be dismissed, a server that can be started again', async () => {
    const page = await scene('trouble', 'notices');
    await page.getByTestId('trouble').waitFor();
    assert.equal(await page.getByTestId('notice').count(), 2);
    await page.screenshot({ path: join(artefacts, 'state-trouble.png') });
    await page.getByTestId('notice').first().getByRole('button').click();
    await page.waitForFunction(() => document.querySelectorAll('[data-testid="notice"]').length === 1);
    await page.evaluate(() => (location.hash = '#/servers'));
    await page.getByRole('button', { name: 'Start again: Ollama' }).click();
    await page.locator('[data-testid="server-card"][data-id="ollama"][data-state="ready"]').waitFor();
    await checked(page, 'trouble-servers');
  });

  it('offline: says so, keeps the last data and marks it', async () => {
    const page = await scene('offline', 'dies', { scheme: 'dark' });
    await page.getByTestId('offline').waitFor();
    await page.getByTestId('active-model').waitFor();
    await checked(page, 'offline');
  });

  it('a switch under way: phase and Cancel on the row, another click takes over, and what was put back is said', async () => {
    const page = await scene('ready', 'takeover');
    await page.locator('[data-testid="model-row"][data-id="ollama/llama3.1:8b"]').click();
    await page.getByTestId('switching').waitFor();
    await page.locator('[data-testid="switching"][data-phase="loading"]').waitFor();
    await page.screenshot({ path: join(artefacts, 'state-switching.png') });
    await page.locator('[data-testid="model-row"][data-id="ollama/qwen2.5:72b"]').click();
    await page
      .getByTestId('switch-ended')
      .getByText(/^Put back SmolLM2 135M Instruct/)
      .waitFor();
    await checked(page, 'put-back');
  });

  it('a benchmark under way can be cancelled', async () => {
    const page = await scene('ready', 'cancel-bench');
    await page.evaluate(() => (location.hash = '#/benchmarks'));
    await page.getByTestId('bench-start').click();
    await page.getByTestId('bench-cancel').click();
    await page.getByTestId('bench-start').waitFor();
    await page.getByText('cancelled').first().waitFor();
    await checked(page, 'bench-cancelled');
  });
});
