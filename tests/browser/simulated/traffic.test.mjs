// The page Traffic in a real browser: requests that come and go, filters, one of them, sums. Simulated engine only.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { artefacts, axeFindings, eventually, launch, openPage, PANEL } from '../browser.mjs';
import { startSimulated } from '../simulated-server.mjs';

const { browser, why } = await launch();
const WIDE = { width: 1440, height: 900 };

describe('traffic', { skip: why ?? false }, () => {
  let simulated;

  before(async () => {
    simulated = await startSimulated({ step: 150 });
  });

  after(async () => {
    await simulated?.stop();
    await browser?.close();
  });

  async function open(test, route = 'traffic', { state = 'hybrid', size = WIDE, scheme = 'light' } = {}) {
    const token = `${state}-${test}`;
    const page = await openPage(browser, `${simulated.origin}/#token=${token}`, { size, scheme });
    page.setDefaultTimeout(30_000);
    await page.locator('#content').waitFor();
    await page.evaluate((hash) => (location.hash = hash), `#/${route}`);
    return Object.assign(page, { engine: simulated.engine(token) });
  }

  async function close(page, name) {
    await page.screenshot({ path: join(artefacts, `traffic-${name}.png`) });
    assert.deepEqual(await axeFindings(page), []);
    assert.deepEqual(page.faults, []);
    await page.context().close();
  }

  const rows = (page) => page.getByTestId('request-row');
  const ids = (page) => rows(page).evaluateAll((all) => all.map((one) => Number(one.getAttribute('data-id'))));
  const row = (page, id) => page.locator(`[data-testid="request-row"][data-id="${id}"]`);

  it('is held still while it is pointed at, and goes on afterwards', async () => {
    const page = await open('still');
    await rows(page).first().waitFor();
    const before = await ids(page);
    await row(page, before[5]).hover();
    const { id } = page.engine.traffic.end({ state: 'failed', error: 'server_error', detail: null });
    await page.getByTestId('traffic-still').getByText('1 newer waits').waitFor();
    await eventually(() => ids(page), before);
    await page.mouse.move(2, 2);
    await row(page, id).getByText('server error').waitFor();
    await eventually(async () => (await ids(page))[0], id);
    await page.getByTestId('traffic-pause').click();
    const next = page.engine.traffic.end();
    await page.getByTestId('traffic-still').getByText('paused, 1 newer waits').waitFor();
    await eventually(() => row(page, next.id).count(), 0);
    await page.getByTestId('traffic-pause').click();
    await row(page, next.id).waitFor();
    await close(page, 'still');
  });

  it('is filtered by text, state, program and model, and the way back leads back', async () => {
    const page = await open('filter');
    await rows(page).first().waitFor();
    const all = async (attribute, value) =>
      page.waitForFunction(
        ([name, wanted]) => {
          const found = [...document.querySelectorAll('[data-testid="request-row"]')];
          return found.length > 0 && found.every((one) => one.getAttribute(name) === wanted);
        },
        [attribute, value],
      );
    await page.getByTestId('show-failed').click();
    await page.waitForFunction(() =>
      [...document.querySelectorAll('[data-testid="request-row"]')].every((one) =>
        ['failed', 'cut'].includes(one.getAttribute('data-state')),
      ),
    );
    await page.getByTestId('show-cancelled').click();
    await all('data-state', 'cancelled');
    await page.getByTestId('show-all').click();
    await page.keyboard.press('/');
    await page.keyboard.type('no such thing');
    await page.getByText('No request matches this filter.').waitFor();
    assert.match(page.url(), /find=no/);
    await page.keyboard.press('Escape');
    await rows(page).first().waitFor();
    await page.getByTestId('traffic-client').selectOption('notes');
    await page.waitForFunction(() => document.querySelectorAll('[data-testid="request-row"]').length < 20);
    assert.match(page.url(), /client=notes/);
    await page.goBack();
    await page.waitForFunction(() => document.querySelectorAll('[data-testid="request-row"]').length === 25);
    await page.getByTestId('traffic-model').selectOption('ollama/qwen2.5:3b');
    await all('data-state', 'cut');
    await close(page, 'filter');
  });

  it('turns pages', async () => {
    const page = await open('pages');
    await rows(page).first().waitFor();
    const [first] = await ids(page);
    await page.getByTestId('traffic-older').click();
    await page.waitForFunction((was) => {
      const now = document.querySelector('[data-testid="request-row"]')?.getAttribute('data-id');
      return now !== undefined && Number(now) === was - 25;
    }, first);
    await page.getByTestId('traffic-newest').click();
    await row(page, first).waitFor();
    await page.context().close();
  });

  it('shows one request: where the time went, why this model, what was estimated', async () => {
    const page = await open('one');
    const link = row(page, 130).getByTestId('request-link');
    await link.focus();
    await page.keyboard.press('Enter');
    const drawer = page.getByTestId('request-drawer');
    await drawer.getByText('done after 4.63 s').waitFor();
    const part = async (name) => (await drawer.getByTestId(`part-${name}`).innerText()).replace('\u00a0', ' ');
    await eventually(() => part('queue'), '120 ms');
    await eventually(() => part('prefill'), '388 ms');
    await eventually(() => part('decode'), '4.12 s');
    await eventually(() => drawer.getByTestId('part-load').count(), 0);
    await eventually(() => drawer.getByTestId('request-why').innerText(), 'critical is a role.');
    await drawer.getByText('keep_alive').waitFor();
    await page.keyboard.press('Escape');
    await drawer.waitFor({ state: 'detached' });
    await eventually(() => page.evaluate(() => document.activeElement?.getAttribute('data-testid')), 'request-link');
    // The one that was estimated, by its address alone, and one that nobody kept.
    await page.evaluate(() => (location.hash = '#/traffic/124'));
    await drawer.getByTestId('request-estimated').waitFor();
    await page.screenshot({ path: join(artefacts, 'traffic-one.png') });
    await page.evaluate(() => (location.hash = '#/traffic/99999'));
    await drawer.getByText('No request 99999 is kept.').waitFor();
    await close(page, 'not-kept');
  });

  it('adds up by program and model over a span, and leads to the requests of one', async () => {
    const page = await open('sums');
    const clients = page.getByTestId('totals-clients');
    await clients.waitFor();
    await page.getByTestId('totals-15m').click();
    await page.getByTestId('traffic-sums').getByText('in the last 15 minutes').waitFor();
    assert.match(page.url(), /span=15m/);
    await clients.locator('[data-name="query-gen"]').getByRole('link').click();
    await page.waitForFunction(() => document.querySelector('[data-testid="traffic-client"]').value === 'query-gen');
    await close(page, 'sums');
  });

  it('says how to point a program here while nobody has asked, and what was lost', async () => {
    const page = await open('empty', 'traffic', { state: 'ready' });
    await page.getByTestId('traffic-empty').waitFor();
    assert.deepEqual(await axeFindings(page), []);
    await page.screenshot({ path: join(artefacts, 'traffic-empty.png') });
    await page.getByTestId('to-connect').click();
    await page.getByTestId('connect-choose').waitFor();
    await page.context().close();
    const flooded = await open('lost', 'traffic', { state: 'names' });
    await flooded.getByTestId('traffic-lost').getByText('3 records could not be kept').waitFor();
    await close(flooded, 'lost');
  });

  it('Now says what is in flight and leads there', async () => {
    const page = await open('now', 'now');
    await page
      .getByTestId('traffic-short-sums')
      .getByText(/^4 in flight · 1 waiting · 1 loading · \d+\s+tok\/s$/)
      .waitFor();
    await page.getByTestId('traffic-short').getByRole('link', { name: 'aider' }).click();
    await page.getByTestId('request-drawer').getByText('answering for').waitFor();
    await page.context().close();
  });

  for (const scheme of ['light', 'dark'])
    for (const size of [PANEL, { width: 1024, height: 900 }, WIDE])
      it(`axe finds nothing at ${size.width}, ${scheme}`, async () => {
        const page = await open(`axe${size.width}${scheme}`, 'traffic', { size, scheme });
        await rows(page).first().waitFor();
        assert.deepEqual(await axeFindings(page), []);
        await page.screenshot({ path: join(artefacts, `traffic-${size.width}-${scheme}.png`) });
        await page.evaluate(() => (location.hash = '#/traffic/134'));
        await page.getByTestId('request-time').waitFor();
        await close(page, `one-${size.width}-${scheme}`);
      });
});
