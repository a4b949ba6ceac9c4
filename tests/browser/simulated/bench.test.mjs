// The benchmark lab in a real browser, with the simulated engine: picking a plan, the pages of a comparison and a sweep, two
// runs of history held against each other. Pictures go to artefacts/browser/.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { artefacts, axeFindings, eventually, launch, openPage, WINDOW } from '../browser.mjs';
import { startSimulated } from '../simulated-server.mjs';

const SMALL_WINDOW = { width: 900, height: 820 };
const NARROW_PANEL = { width: 420, height: 760 };
const shapes = [
  ['window', WINDOW],
  ['small-window', SMALL_WINDOW],
  ['panel', NARROW_PANEL],
];
const { browser, why } = await launch();

describe('the benchmark lab (simulated engine)', { skip: why ?? false }, () => {
  let simulated;

  before(async () => {
    simulated = await startSimulated({ step: 120 });
  });

  after(async () => {
    await simulated?.stop();
    await browser?.close();
  });

  async function open(scene, test, route, options) {
    const page = await openPage(browser, `${simulated.origin}/#token=${scene}-${test}`, options);
    page.setDefaultTimeout(30_000);
    await page.getByRole('heading').first().waitFor();
    await page.evaluate((hash) => (location.hash = hash), `#/${route}`);
    return page;
  }

  /** The whole page in one picture, whatever scrolls; nothing may be wider than the page, and axe finds nothing. */
  async function checked(page, name) {
    const { height, wider } = await page.evaluate(() => {
      const main = document.querySelector('main');
      return { height: main.scrollHeight, wider: main.scrollWidth - main.clientWidth };
    });
    const size = page.viewportSize();
    await page.setViewportSize({ ...size, height: Math.max(size.height, height) });
    await page.screenshot({ path: join(artefacts, `${name}.png`) });
    assert.equal(wider, 0, `${name} is wider than its page`);
    assert.deepEqual(await axeFindings(page), []);
    assert.deepEqual(page.faults, []);
    await page.context().close();
  }

  for (const scheme of ['light', 'dark']) {
    for (const [shape, size] of shapes) {
      it(`shows a comparison: ${shape}, ${scheme}`, async () => {
        const page = await open('gpu', `ab-${shape}-${scheme}`, 'benchmarks/2-3', { scheme, size });
        await page.getByTestId('comparison-table').waitFor();
        await eventually(() => page.getByTestId('compared').count(), 6);
        // Two plots of the timeline, drawn.
        await eventually(() => page.locator('[data-testid="comparison-page"] canvas').count(), 2);
        await checked(page, `comparison-${shape}-${scheme}`);
      });

      it(`shows a sweep: ${shape}, ${scheme}`, async () => {
        const page = await open('gpu', `sweep-${shape}-${scheme}`, 'benchmarks/1', { scheme, size });
        await page.getByTestId('sweep-table').waitFor();
        const plot = page.getByTestId('sweep-plot').last();
        const label = await plot.getByText('6', { exact: true }).boundingBox();
        const band = await plot.locator('rect').boundingBox();
        // The level stands under its own mark.
        assert.ok(Math.abs(label.x + label.width / 2 - (band.x + band.width / 2)) < 2);
        await checked(page, `sweep-${shape}-${scheme}`);
      });
    }
  }

  it('shows runs at different times on a time axis each, without a GPU too', async () => {
    const page = await open('ready', 'apart', 'benchmarks/10-11', {});
    await page.getByText(/Measured at different times/).waitFor();
    await eventually(() => page.locator('[data-testid="comparison-page"] canvas').count(), 4);
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByTestId('report').click()]);
    assert.equal(download.suggestedFilename(), 'pilothouse-report-10-11.html');
    await checked(page, 'comparison-apart');
  });

  it('says under the pointer when, how busy and how fast', async () => {
    const page = await open('gpu', 'pointer', 'benchmarks/2-3', {});
    const plot = page.getByRole('img', { name: /^GPU: shaded/ });
    await plot.scrollIntoViewIfNeeded();
    const box = await plot.boundingBox();
    await page.mouse.move(box.x + box.width / 2, box.y + 30);
    const reading = page.getByTestId('timeline-reading');
    await page.waitForFunction((element) => element.textContent !== '', await reading.elementHandle());
    assert.match(await reading.innerText(), /^[\d.]+\ss · GPU [\d.]+\s% · [\d.]+\sW/);
    await checked(page, 'comparison-pointer');
  });

  it('compares with another model and leads to the page of it', async () => {
    const page = await open('gpus', 'picker', 'benchmarks', {});
    await page.getByTestId('bench-plan').selectOption('ab');
    await page.getByTestId('bench-other').selectOption('ollama/smollm2:135m');
    simulated.stopsAt('gpus-picker', ({ bench }) => (bench?.waits_for.length ?? 0) > 0);
    await page.getByTestId('bench-start').click();
    // A busy machine is waited for, and who keeps it busy is said.
    await page.getByText('Waiting for a quiet machine: cc1plus uses 96').waitFor();
    simulated.stopsAt('gpus-picker', ({ bench }) => bench?.block?.[0] === 4);
    await page
      .getByTestId('bench-progress')
      .getByText(/^Block 4 of 10$/)
      .waitFor();
    await simulated.held('gpus-picker', async () => {
      await page.getByRole('img', { name: /answers? so far/ }).waitFor();
      await page.screenshot({ path: join(artefacts, 'bench-under-way.png') });
      assert.deepEqual(await axeFindings(page), []);
    });
    await page.getByTestId('bench-ended').getByRole('link').click();
    await page.getByTestId('comparison-table').waitFor();
    await simulated.held('gpus-picker', async () => {
      await page.getByTestId('bench-again').click();
      await page.getByTestId('bench-cancel').click();
    });
    await page.getByTestId('bench-again').waitFor();
    await checked(page, 'comparison-after');
  });

  it('sweeps, by keyboard alone', async () => {
    const page = await open('gpu', 'sweeps', 'benchmarks', {});
    await page.getByTestId('bench-plan').focus();
    await page.keyboard.type('Req');
    await page.keyboard.press('Tab');
    await page.keyboard.press('ControlOrMeta+a');
    await page.keyboard.type('4');
    await page.keyboard.press('Enter');
    await page.getByText(/at a time · Trial/).waitFor();
    await page.getByTestId('bench-ended').getByRole('link').focus();
    await page.keyboard.press('Enter');
    await page.getByTestId('sweep-table').waitFor();
    await eventually(() => page.getByTestId('sweep-row').count(), 4);
    await page.context().close();
  });

  it('holds two runs of history against each other', async () => {
    const page = await open('gpu', 'history', 'history', {});
    const boxes = page.getByRole('checkbox');
    await boxes.nth(1).check();
    await boxes.nth(4).check();
    await page.screenshot({ path: join(artefacts, 'history-picked.png') });
    assert.deepEqual(await axeFindings(page), []);
    await page.getByTestId('compare').click();
    await page.getByTestId('comparison-table').waitFor();
    await page.getByRole('button', { name: 'What was matched' }).click();
    await page.getByRole('region', { name: 'What was matched' }).waitFor();
    await checked(page, 'comparison-of-history');
  });

  it('opens a figure of a run to what it means', async () => {
    const page = await open('gpu', 'figure', 'benchmarks/3', {});
    const figure = page.getByRole('button', { name: 'Decode, tok/s' });
    await figure.press('Enter');
    await page.getByText('Median of 10 with its 95 % interval, by bootstrap').first().waitFor();
    await checked(page, 'run-figure');
  });
});
