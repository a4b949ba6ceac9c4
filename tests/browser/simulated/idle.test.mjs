// What a page costs that only stands there: what it asks, and what it draws. Simulated engine; tools/page-cost.mjs has the figures.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { launch, openPage } from '../browser.mjs';
import { startSimulated } from '../simulated-server.mjs';

const { browser, why } = await launch();
const PULLS = 6;

describe('a page at rest (simulated engine)', { skip: why ?? false }, () => {
  let simulated;

  before(async () => {
    simulated = await startSimulated({ step: 300 });
  });

  after(async () => {
    await simulated?.stop();
    await browser?.close();
  });

  /** Counts from now on, until so many pulls have been answered: what was asked, and how often each gauge was drawn. */
  async function watch(page) {
    const asked = [];
    await page.evaluate(() => {
      globalThis.draws = {};
      const clear = CanvasRenderingContext2D.prototype.clearRect;
      CanvasRenderingContext2D.prototype.clearRect = function (...area) {
        const gauge = this.canvas.closest('figure')?.dataset.testid ?? 'another';
        globalThis.draws[gauge] = (globalThis.draws[gauge] ?? 0) + 1;
        return clear.apply(this, area);
      };
    });
    const done = new Promise((resolve) => {
      page.on('requestfinished', (request) => {
        // The script of the other pages comes once, when the first one is there.
        if (request.postData() === null) return;
        asked.push(JSON.parse(request.postData()));
        if (asked.filter(({ call }) => call === 'snapshot').length === PULLS) resolve();
      });
    });
    await done;
    return { asked, draws: await page.evaluate(() => globalThis.draws) };
  }

  it('asks only for what it does not have, once for each look, and draws only what has moved', async () => {
    const page = await openPage(browser, `${simulated.origin}/#token=gpu-idle`);
    await page.getByTestId('gauge-cpu_percent').locator('canvas').waitFor();
    await page.getByTestId('model-row').first().waitFor();
    await page.waitForLoadState('networkidle');
    const { asked, draws } = await watch(page);
    assert.deepEqual([...new Set(asked.map(({ call }) => call))], ['snapshot']);
    for (const call of asked) {
      assert.equal(call.parts, true);
      assert.ok(call.known > 0 && call.gauges_since_ms > 0);
    }
    // A gauge of some 250 pixels moves on by one about every 4 s, and two samples come with each pull.
    assert.ok(Object.keys(draws).length > 3, JSON.stringify(draws));
    for (const [gauge, times] of Object.entries(draws)) assert.ok(times < PULLS, `${gauge} was drawn ${times} times`);
    await page.context().close();
  });

  it('draws nothing below what is in sight, and everything when it comes there', async () => {
    const page = await openPage(browser, `${simulated.origin}/#token=gpu-below`, { size: { width: 760, height: 240 } });
    await page.getByTestId('gauge-cpu_percent').locator('canvas').waitFor({ state: 'attached' });
    await page.waitForLoadState('networkidle');
    const { draws } = await watch(page);
    assert.deepEqual(draws, {});
    await page.getByTestId('gauge-cpu_percent').scrollIntoViewIfNeeded();
    await page.waitForFunction(() => globalThis.draws['gauge-cpu_percent'] > 0);
    await page.context().close();
  });
});
