// “Load with …”: a switch with settings of the load, in a real browser. Simulated engine only.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { artefacts, axeFindings, eventually, launch, openPage } from '../browser.mjs';
import { startSimulated } from '../simulated-server.mjs';

const { browser, why } = await launch();
const CODER = 'lmstudio/qwen2.5-coder-14b-instruct-mlx';
const ACTIVE = 'lmstudio/qwen2.5-7b-instruct-mlx';

describe('load with', { skip: why ?? false }, () => {
  let simulated;

  before(async () => {
    simulated = await startSimulated({ step: 150 });
  });

  after(async () => {
    await simulated?.stop();
    await browser?.close();
  });

  async function open(test, { size = { width: 1440, height: 900 }, scheme = 'light', id = null } = {}) {
    const token = `many-${test}`;
    const page = await openPage(browser, `${simulated.origin}/#token=${token}`, { size, scheme });
    page.setDefaultTimeout(30_000);
    await page.locator('#content').waitFor();
    const address = id === null ? '#/models' : `#/models/${encodeURIComponent(id)}`;
    await page.evaluate((hash) => (location.hash = hash), address);
    await page.getByTestId('table-row').first().waitFor({ state: 'attached' });
    return Object.assign(page, { engine: simulated.engine(token) });
  }

  const rowOf = (page, id) => page.locator(`[data-testid="table-row"][data-id="${id}"]`);
  const focused = (page) =>
    page.evaluate(() => document.activeElement?.dataset.testid ?? document.activeElement?.tagName);
  const snapshot = async (page) => (await page.engine.call({ call: 'snapshot' })).snapshot;
  const verdict = (page) => page.getByTestId('load-verdict');

  async function close(page, name) {
    await page.screenshot({ path: join(artefacts, `load-with-${name}.png`) });
    assert.deepEqual(await axeFindings(page), []);
    assert.deepEqual(page.faults, []);
    await page.context().close();
  }

  it('follows each edit with the memory, switches with what was typed, and can be taken back', async () => {
    const page = await open('row');
    await rowOf(page, CODER).scrollIntoViewIfNeeded();
    await rowOf(page, CODER).hover();
    await page.screenshot({ path: join(artefacts, 'load-with-row.png') });
    await rowOf(page, CODER).getByTestId('row-load-with').click();
    await page.getByTestId('load-arithmetic').getByText('Needs about').waitFor();
    const needs = () => page.getByTestId('load-arithmetic').textContent();
    assert.equal(await page.getByTestId('load-kv').count(), 0, 'LM Studio takes no KV type');
    const retyped = async (tokens) => {
      const was = await needs();
      await page.getByTestId('load-context').fill(tokens);
      await page.waitForFunction(
        (before) => document.querySelector('[data-testid="load-arithmetic"]').textContent !== before,
        was,
      );
    };
    const outline = page.getByTestId('load-with').locator('[data-kind="forecast"]');
    const width = async () => (await outline.boundingBox()).width;
    await retyped('16384');
    const long = await width();
    await retyped('2048');
    await eventually(async () => (await width()) < long, true, 'less context, less memory');
    await verdict(page).getByText('It fits.').waitFor();
    await page.screenshot({ path: join(artefacts, 'load-with-fits.png') });
    assert.deepEqual(await axeFindings(page), []);
    await page.keyboard.press('Enter');
    await eventually(async () => (await snapshot(page)).active?.model, 'qwen2.5-coder-14b-instruct-mlx');
    const { instances } = await snapshot(page);
    assert.equal(instances.find((one) => one.model === 'qwen2.5-coder-14b-instruct-mlx').context, 2048);
    await page.getByTestId('load-with').waitFor({ state: 'detached' });
    await eventually(() => page.evaluate(() => document.activeElement?.dataset.id), CODER);
    await page.getByTestId('models-undo').waitFor();
    await page.keyboard.press('u');
    await eventually(async () => (await snapshot(page)).active?.model, 'qwen2.5-7b-instruct-mlx');
    await close(page, 'done');
  });

  it('says before the click what cannot be, and what would', async () => {
    const page = await open('refused', { id: CODER });
    await page.getByTestId('drawer-load-with').click();
    await page.getByTestId('load-context').fill('32768');
    await page.getByTestId('load-parallel').fill('16');
    await verdict(page)
      .getByText(/needs .* more than fits/)
      .waitFor();
    await eventually(() => page.getByTestId('load-go').isDisabled(), true);
    await page.getByTestId('load-offers').getByRole('button').first().waitFor();
    await page.screenshot({ path: join(artefacts, 'load-with-refused.png') });
    assert.deepEqual(await axeFindings(page), []);
    await page
      .getByTestId('load-offers')
      .getByRole('button', { name: /^(Context|One request)/ })
      .first()
      .click();
    await verdict(page).getByText('It fits.').waitFor();
    await page.getByTestId('load-context').fill('many');
    await page.getByText('Allowed: 1 to 16777216').waitFor();
    await eventually(() => page.getByTestId('load-go').isDisabled(), true);
    // Escape closes this alone, and the keyboard is where it was.
    await page.keyboard.press('Escape');
    await page.getByTestId('load-with').waitFor({ state: 'detached' });
    assert.equal(await page.getByTestId('model-drawer').count(), 1);
    await eventually(() => focused(page), 'drawer-load-with');
    await close(page, 'closed');
  });

  it('loads the active model again, by the keyboard alone, in the dark', async () => {
    const page = await open('again', { scheme: 'dark', id: ACTIVE });
    await page.getByTestId('drawer-load-with').focus();
    await page.keyboard.press('Enter');
    await eventually(() => focused(page), 'load-context');
    await verdict(page).getByText('It is loaded so already.').waitFor();
    await page.keyboard.type('8192');
    await verdict(page).getByText('requests wait meanwhile').waitFor();
    await page.screenshot({ path: join(artefacts, 'load-with-dark.png') });
    assert.deepEqual(await axeFindings(page), []);
    await page.keyboard.press('Enter');
    const context = async () =>
      (await snapshot(page)).instances.find((one) => one.model === 'qwen2.5-7b-instruct-mlx')?.context;
    await eventually(context, 8192);
    await close(page, 'again');
  });

  it('has room at every width', async () => {
    // Below 720 it is the panel, which has no table.
    for (const width of [720, 1100, 2560]) {
      const page = await open(`wide-${width}`, { size: { width, height: 720 }, id: CODER });
      await page.getByTestId('drawer-load-with').click();
      await page.getByTestId('load-context').fill('32768');
      await page.getByTestId('load-parallel').fill('16');
      await page.getByTestId('load-offers').waitFor();
      const box = await page.getByTestId('load-with').boundingBox();
      assert.ok(
        box.x >= 0 && box.x + box.width <= width && box.y >= 0 && box.y + box.height <= 720,
        JSON.stringify(box),
      );
      assert.ok(await page.getByTestId('load-with').evaluate((one) => one.scrollWidth <= one.clientWidth));
      await close(page, String(width));
    }
  });
});
