// Room for what people really have: sixty models, long names, every width. Simulated engine only.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { artefacts, axeFindings, eventually, launch, openPage, PANEL } from '../browser.mjs';
import { startSimulated } from '../simulated-server.mjs';

const { browser, why } = await launch();
const WIDTHS = [320, 400, 720, 1024, 1440, 2560];
const PAGES = [
  ...['now', 'models', 'scenes', 'traffic', 'memory', 'servers', 'benchmarks', 'history'],
  ...['connect', 'settings', 'events', 'log'],
];

/** Links and buttons whose target is lower than 24 px: a little above or below their middle lies something else. */
function smallTargets() {
  const found = [];
  for (const element of document.querySelectorAll('button, a[href], summary')) {
    // Parts of a bar are as wide as what they stand for; the table beside it has them all.
    // The link below a state is the same as the button that comes over its row.
    if (element.matches('.part, .skip, .state a') || element.closest('svg')) continue;
    const box = element.getBoundingClientRect();
    const [x, middle] = [box.left + box.width / 2, box.top + box.height / 2];
    if (box.width === 0 || middle < 40 || middle > innerHeight - 40 || x < 0 || x > innerWidth) continue;
    // In running text the lines are where they are.
    if (element.closest('p') && getComputedStyle(element).display === 'inline') continue;
    const at = (dy) => document.elementFromPoint(x, middle + dy);
    // What is covered by something that lies over the page cannot be pressed anyway.
    if (!element.contains(at(0))) continue;
    // Half of 24, less what rounding and hairlines take.
    for (const dy of [-10, 10])
      if (!element.contains(at(dy)) && !at(dy)?.closest('label')?.contains(element))
        found.push(`“${(element.textContent || element.ariaLabel || '').trim().slice(0, 30)}” ${dy}`);
  }
  return [...new Set(found)].slice(0, 6);
}

/** What is pushed out of its place: beyond the page, beyond the box that should hold it, or over its neighbour. */
function pushedOut() {
  const found = [];
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) found.push(`the page is ${root.scrollWidth} wide`);
  const name = (element) =>
    `${element.tagName.toLowerCase()}.${element.className} “${element.textContent.trim().slice(0, 40)}”`;
  // Boxes that scroll or cut on purpose hold what is in them.
  const holds = (element) => {
    for (let one = element.parentElement; one; one = one.parentElement) {
      const { overflowX, clipPath } = getComputedStyle(one);
      if (overflowX !== 'visible' || clipPath !== 'none') return one;
    }
    return null;
  };
  for (const element of document.querySelectorAll('#content *, .rail *, footer *')) {
    if (element.closest('svg, canvas, .visually-hidden, [aria-hidden="true"]')) continue;
    const box = element.getBoundingClientRect();
    if (box.width === 0 || box.height === 0) continue;
    const outside = box.right > innerWidth + 1 || box.left < -1;
    const holder = holds(element);
    if (outside && (holder === null || holder.id === 'content')) found.push(`${name(element)} ends at ${box.right}`);
    // A box that cuts what is in it must not do so to a control.
    if (element.matches('button, a, input, select') && holder !== null && holder.id !== 'content') {
      const around = holder.getBoundingClientRect();
      const scrolls = ['auto', 'scroll'].includes(getComputedStyle(holder).overflowX);
      if (!scrolls && box.left > around.right) found.push(`${name(element)} is cut away`);
    }
  }
  // Texts beside each other in a row do not lie over each other.
  for (const row of document.querySelectorAll('[data-testid="table-row"], [data-testid="model-row"], .row')) {
    const parts = [...row.children].filter((part) => {
      const style = getComputedStyle(part);
      return (
        style.position !== 'absolute' && !part.matches('.visually-hidden') && part.getBoundingClientRect().width > 0
      );
    });
    for (const [index, part] of parts.entries())
      for (const other of parts.slice(index + 1)) {
        const [a, b] = [part.getBoundingClientRect(), other.getBoundingClientRect()];
        const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (across > 1 && down > 1) found.push(`${name(part)} lies over ${name(other)}`);
      }
  }
  // The first ones say where to look.
  return [...new Set(found)].slice(0, 4);
}

describe('room', { skip: why ?? false }, () => {
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
    await page.getByTestId('active-model').waitFor();
    return page;
  }

  async function goTo(page, name) {
    await page.evaluate((hash) => (location.hash = hash), `#/${name}`);
    await page.waitForFunction(
      (title) => document.title.startsWith(title),
      `${name[0].toUpperCase()}${name.slice(1)} `,
    );
    await page.getByText(/^Reading (history|the log|the machine|traffic|the apps)$/).waitFor({ state: 'detached' });
  }

  for (const zoom of [1, 2]) {
    it('has targets of 24 px, and a first stop that leads past the rail', async () => {
      for (const size of [{ width: 1440, height: 900 }, PANEL]) {
        const page = await openPage(browser, `${simulated.origin}/#token=hybrid-targets${size.width}`, { size });
        await page.getByTestId('active-model').waitFor();
        for (const name of PAGES) {
          await page.evaluate((hash) => (location.hash = hash), `#/${name}`);
          await page.getByText(/^Reading /).waitFor({ state: 'detached' });
          await eventually(() => page.evaluate(smallTargets), [], `${name} at ${size.width}`);
        }
        await page.evaluate(() => document.activeElement?.blur());
        await page.keyboard.press('Tab');
        await eventually(() => page.evaluate(() => document.activeElement?.textContent), 'Skip to content');
        await page.keyboard.press('Enter');
        await eventually(() => page.evaluate(() => document.activeElement?.id), 'content');
        await page.context().close();
      }
    });

    it(`long names push nothing out at any width${zoom === 2 ? ', at 200 %' : ''}`, async () => {
      const findings = [];
      for (const width of WIDTHS) {
        const size = { width: Math.round(width / zoom), height: Math.round(900 / zoom) };
        // Below 320 points nobody promises anything.
        if (size.width < 320) continue;
        const page = await scene('names', `width-${width}-${zoom}`, { size });
        for (const name of PAGES) {
          await goTo(page, name);
          findings.push(...(await page.evaluate(pushedOut)).map((one) => `${name} at ${width}: ${one}`));
        }
        if (size.width >= 720) {
          await goTo(page, 'models');
          await page.getByTestId('model-title').first().click();
          await page.getByTestId('model-drawer').waitFor();
          findings.push(...(await page.evaluate(pushedOut)).map((one) => `details at ${width}: ${one}`));
        }
        for (const name of ['Coding', 'Big and small', 'Free the memory']) {
          await page.evaluate((hash) => (location.hash = hash), `#/scenes/${encodeURIComponent(name)}`);
          await page.getByTestId('scene-memory').waitFor();
          findings.push(...(await page.evaluate(pushedOut)).map((one) => `${name} at ${width}: ${one}`));
        }
        for (const [route, shown] of [
          ['traffic/130', 'request-time'],
          ['connect/claude-code', 'diff'],
          ['connect/curl', 'snippet'],
        ]) {
          await page.evaluate((hash) => (location.hash = hash), `#/${route}`);
          await page.getByTestId(shown).first().waitFor();
          findings.push(...(await page.evaluate(pushedOut)).map((one) => `${route} at ${width}: ${one}`));
        }
        findings.push(...page.faults);
        await page.context().close();
      }
      assert.deepEqual(findings, []);
    });
  }

  it('the panel shows what matters of sixty models without scrolling', async () => {
    for (const name of ['many', 'names']) {
      const page = await scene(name, 'panel', { size: PANEL });
      await page.getByTestId('last-run').waitFor();
      await page.getByTestId('copy-address').waitFor();
      await eventually(() => page.getByTestId('model-row').count(), 5, name);
      const room = await page.evaluate(() => {
        const main = document.querySelector('#content');
        const bottom = (id) => document.querySelector(`[data-testid="${id}"]`).getBoundingClientRect().bottom;
        return {
          scrolls: main.scrollHeight - main.clientHeight,
          page: document.documentElement.scrollHeight - innerHeight,
          seen: ['model-row', 'memory-section', 'gauge-memory', 'last-run', 'panel-footer'].every(
            (id) => bottom(id) <= innerHeight,
          ),
        };
      });
      assert.deepEqual(room, { scrolls: 0, page: 0, seen: true }, name);
      await page.screenshot({ path: join(artefacts, `panel-${name}.png`) });
      assert.deepEqual(await axeFindings(page), []);
      await page.getByTestId('model-filter').fill('command');
      await page.waitForFunction(() => document.querySelectorAll('[data-testid="model-row"]').length === 2);
      const after = await page.evaluate(() => {
        const main = document.querySelector('#content');
        return main.scrollHeight - main.clientHeight;
      });
      assert.equal(after, 0);
      await page.context().close();
    }
  });

  it('the window uses its width up to 1600 points', async () => {
    for (const [width, most] of [
      [1440, 1440],
      [2560, 1600],
    ]) {
      const page = await scene('many', `wide-${width}`, { size: { width, height: 900 } });
      const inner = await page.locator('#content > .inner').evaluate((one) => one.getBoundingClientRect().width);
      assert.ok(inner > Math.min(most, width - 200) * 0.95 && inner <= most, `${inner} of ${width}`);
      await page.context().close();
    }
  });

  it('acts of a row come on hover and on focus, and nothing moves', async () => {
    const page = await scene('many', 'acts', { size: { width: 1440, height: 900 } });
    await goTo(page, 'models');
    const row = page.locator('[data-testid="table-row"][data-id="ollama/phi3:3.8b"]');
    await row.scrollIntoViewIfNeeded();
    const places = () =>
      page.evaluate(() =>
        [...document.querySelectorAll('[data-testid="table-row"]')].map((one) => one.getBoundingClientRect().top),
      );
    const before = await places();
    const act = row.getByTestId('row-switch');
    await eventually(() => act.evaluate((one) => getComputedStyle(one.parentElement).opacity), '0');
    await row.hover();
    await eventually(() => act.evaluate((one) => getComputedStyle(one.parentElement).opacity), '1');
    await eventually(() => places(), before);
    await page.mouse.move(2, 2);
    await row.getByTestId('model-title').focus();
    await eventually(() => act.evaluate((one) => getComputedStyle(one.parentElement).opacity), '1');
    await page.keyboard.press('Tab');
    await eventually(() => page.evaluate(() => document.activeElement?.textContent?.trim()), 'Switch');
    assert.deepEqual(await axeFindings(page), []);
    await page.context().close();
  });

  it('the log draws only what is seen, stays where it is scrolled to and goes on at the end', async () => {
    const page = await scene('many', 'log');
    await page.evaluate(() => (location.hash = '#/log/ollama'));
    await page.getByTestId('log-lines').locator('li').first().waitFor();
    const lines = page.getByTestId('log-lines');
    assert.ok((await lines.locator('li').count()) < 150);
    const isAtEnd = () => lines.evaluate((box) => box.scrollHeight - box.scrollTop - box.clientHeight < 40);
    await eventually(isAtEnd, true);
    await lines.hover();
    await page.mouse.wheel(0, -2000);
    await page.getByText('Paused').waitFor();
    const top = await lines.evaluate((box) => box.scrollTop);
    await page.getByRole('button', { name: /new lines?/ }).waitFor();
    await eventually(() => lines.evaluate((box) => box.scrollTop), top);
    assert.deepEqual(await axeFindings(page), []);
    await page.getByTestId('log-to-end').click();
    await page.getByText('Following').waitFor();
    await page.waitForFunction(() => {
      const box = document.querySelector('[data-testid="log-lines"]');
      return box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    });
    await page.context().close();
  });

  it('one cursor walks all gauges by keyboard and says what it stands on', async () => {
    const page = await scene('many', 'cursor', { size: { width: 1440, height: 900 } });
    const plot = page.getByRole('slider', { name: /^Memory/ });
    await plot.waitFor();
    await plot.focus();
    await page.keyboard.press('Home');
    const first = await plot.getAttribute('aria-valuetext');
    assert.match(first, /^\d\d:\d\d:\d\d: [\d.]+\sGB/);
    await eventually(() => plot.getAttribute('aria-valuenow'), '0');
    const others = page.getByRole('slider', { name: /^CPU/ });
    await eventually(() => others.getAttribute('aria-valuenow'), '0');
    await page.keyboard.press('End');
    await eventually(async () => (await plot.getAttribute('aria-valuenow')) === '0', false);
    await page.keyboard.press('Escape');
    await page.context().close();
  });
});
