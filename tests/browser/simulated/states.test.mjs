// States that cannot be had from a healthy engine at will: first start, trouble, offline. Simulated engine only.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { artefacts, axeFindings, eventually, launch, openPage, PANEL, WINDOW } from '../browser.mjs';
import { startSimulated } from '../simulated-server.mjs';

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
    simulated.stopsAt('first-start-fetch', ({ setup }) => setup.progress !== null);
    await page.getByTestId('setup-start').click();
    await simulated.held('first-start-fetch', () => page.getByRole('progressbar').waitFor());
    await page.getByTestId('model-row').first().waitFor();
    await checked(page, 'first-start-done');
  });

  it('trouble: one band with the latest and a count, events behind it, a server that can be started again', async () => {
    const page = await scene('trouble', 'notices');
    await page.getByTestId('band').getByTestId('trouble').waitFor();
    await eventually(() => page.getByTestId('more-events').innerText(), '2 more');
    await page.screenshot({ path: join(artefacts, 'state-trouble.png') });
    await page.getByTestId('more-events').click();
    await page.getByTestId('event').first().waitFor();
    assert.deepEqual(await axeFindings(page), []);
    await page.getByTestId('events-level').selectOption('problem');
    await page.waitForFunction(() => document.querySelectorAll('[data-testid="event"]').length === 1);
    assert.match(page.url(), /#\/events\?level=problem$/);
    await page.screenshot({ path: join(artefacts, 'state-events.png') });
    await page.evaluate(() => (location.hash = '#/servers'));
    await page.getByRole('button', { name: 'Start again: Ollama' }).click();
    await page.locator('[data-testid="server-card"][data-id="ollama"][data-state="ready"]').waitFor();
    await checked(page, 'trouble-servers');
  });

  for (const [shape, size] of [
    ['window', WINDOW],
    ['panel', PANEL],
  ]) {
    it(`notices and a switch that is put back move nothing: ${shape}`, async () => {
      const token = `ready-still-${shape}`;
      const page = await scene('ready', `still-${shape}`, { size });
      const rows = page.getByTestId('model-row');
      await rows.first().waitFor();
      await page.getByTestId('band').getByText('Nothing to report.').waitFor();
      const places = async () => ({
        band: (await page.getByTestId('band').boundingBox()).height,
        rows: await rows.evaluateAll((all) => all.map((row) => row.getBoundingClientRect().top)),
      });
      const before = await places();
      const notice = {
        at: new Date().toISOString(),
        level: 'attention',
        kind: 'server',
        title: 'Ollama stopped twice in a minute and was started again, as it had been before',
        body: 'exited with status 1 (address in use); a reason that is longer than any line of this page has room for',
        hint: 'Look at its log.',
        server: 'ollama',
        acts: [
          { act: 'show_log', server: 'ollama' },
          { act: 'start_again', server: 'ollama' },
        ],
        own: false,
      };
      for (const id of [1, 2, 3]) simulated.engine(token).tell({ ...notice, id });
      await page.getByTestId('notice').waitFor();
      await page.getByTestId('more-events').getByText('2 more').waitFor();
      await eventually(() => places(), before);
      await page.screenshot({ path: join(artefacts, `state-notice-${shape}.png`) });
      await page.locator('[data-testid="model-row"][data-id="ollama/qwen2.5:72b"]').click();
      await page.getByTestId('switch-ended').waitFor();
      await eventually(() => places(), before);
      await checked(page, `still-${shape}`);
    });
  }

  it('a server that was stopped is said alike everywhere, and one click starts and loads', async () => {
    const page = await scene('ready', 'stopped');
    await page.getByTestId('standing').getByText('Ready').waitFor();
    await simulated.engine('ready-stopped').call({ call: 'stop_server', server: 'llama-server' });
    await page.getByTestId('standing').getByText('Stopped').waitFor();
    await eventually(() => page.getByTestId('foot').getAttribute('data-tone'), 'idle');
    await eventually(() => page.locator('[data-testid="model-row"] svg.good').count(), 0);
    await page
      .getByTestId('ask-first')
      .getByText(/^Starts llama-server and loads SmolLM2/)
      .waitFor();
    await page.screenshot({ path: join(artefacts, 'state-stopped.png') });
    simulated.stopsAt('ready-stopped', ({ switching }) => switching?.phase === 'loading');
    await page.getByRole('button', { name: /^Start and load SmolLM2 135M Instruct/ }).click();
    await page.locator('[data-testid="switching"][data-phase="loading"]').waitFor();
    await simulated.held('ready-stopped', () => checked(page, 'started-and-loading'));
  });

  it('offline: says so, keeps the last data and marks it', async () => {
    const page = await scene('offline', 'dies', { scheme: 'dark' });
    await page.getByTestId('offline').waitFor();
    await page.getByTestId('active-model').waitFor();
    await checked(page, 'offline');
  });

  it('a switch under way: phase and Cancel on the row, another click takes over, and what was put back is said', async () => {
    const page = await scene('ready', 'takeover');
    simulated.stopsAt('ready-takeover', ({ switching }) => switching?.phase === 'loading');
    await page.locator('[data-testid="model-row"][data-id="ollama/llama3.1:8b"]').click();
    await page.locator('[data-testid="switching"][data-phase="loading"]').waitFor();
    await simulated.held('ready-takeover', async () => {
      await page.screenshot({ path: join(artefacts, 'state-switching.png') });
      await page.locator('[data-testid="model-row"][data-id="ollama/qwen2.5:72b"]').click();
    });
    await page
      .getByTestId('switch-ended')
      .getByText(/^Put back SmolLM2 135M Instruct/)
      .waitFor();
    await checked(page, 'put-back');
  });

  it('a benchmark under way can be cancelled', async () => {
    const page = await scene('ready', 'cancel-bench');
    await page.evaluate(() => (location.hash = '#/benchmarks'));
    await page.getByTestId('bench-start').waitFor();
    await simulated.held('ready-cancel-bench', async () => {
      await page.getByTestId('bench-start').click();
      await page.getByTestId('bench-cancel').click();
    });
    await page.getByTestId('bench-start').waitFor();
    await page.getByText('cancelled').first().waitFor();
    await checked(page, 'bench-cancelled');
  });
});
