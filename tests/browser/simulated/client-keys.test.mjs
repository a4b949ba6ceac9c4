// Keys of client programs in a real browser: made, shown once, copied, revoked. Simulated engine only.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { artefacts, axeFindings, eventually, launch, openPage, PANEL } from '../browser.mjs';
import { startSimulated } from '../simulated-server.mjs';

const { browser, why } = await launch();
const WIDE = { width: 1440, height: 900 };

describe('client keys', { skip: why ?? false }, () => {
  let simulated;

  before(async () => {
    simulated = await startSimulated({ step: 150 });
  });

  after(async () => {
    await simulated?.stop();
    await browser?.close();
  });

  async function open(test, { size = WIDE, scheme = 'light' } = {}) {
    const token = `hybrid-${test}`;
    const page = await openPage(browser, `${simulated.origin}/#token=${token}`, { size, scheme });
    page.setDefaultTimeout(30_000);
    await page.locator('#content').waitFor();
    await page.evaluate(() => (location.hash = '#/connect/keys'));
    await page.getByTestId('client-key').first().waitFor();
    return Object.assign(page, { engine: simulated.engine(token) });
  }

  const shot = (page, name) => page.screenshot({ path: join(artefacts, `keys-${name}.png`) });
  const focused = (page) => page.evaluate(() => document.activeElement?.getAttribute('data-testid'));
  const row = (page, name) => page.locator(`[data-testid="client-key"][data-name="${name}"]`);

  async function close(page) {
    assert.deepEqual(await axeFindings(page), []);
    assert.deepEqual(page.faults, []);
    await page.context().close();
  }

  it('is reached from the list of apps', async () => {
    const page = await open('list');
    await page.evaluate(() => (location.hash = '#/connect'));
    await page.getByTestId('connect-choose').waitFor();
    await page.getByTestId('keys-item').click();
    await page.getByTestId('client-keys').waitFor();
    assert.equal(await page.getByTestId('keys-item').getAttribute('aria-current'), 'page');
    await row(page, 'open-webui').getByText('2 answers under way').waitFor();
    await row(page, 'indexer').getByText('background, *-embed*').waitFor();
    await row(page, 'indexer').getByText('8 at a time').waitFor();
    await row(page, 'shelf-display').getByText('never').waitFor();
    await page.getByTestId('keys-required').getByText('Programs of this machine need none.').waitFor();
    await shot(page, 'list');
    await close(page);
  });

  it('makes a key by keyboard, shows it once, and copies it', async () => {
    const page = await open('make');
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.getByTestId('key-add').focus();
    await page.keyboard.press('Enter');
    await eventually(() => focused(page), 'key-name');
    await page.keyboard.press('Escape');
    await eventually(() => focused(page), 'key-add');
    await page.keyboard.press('Enter');
    await eventually(() => focused(page), 'key-name');
    await page.keyboard.type('Notes');
    await page.keyboard.press('Enter');
    await page.getByTestId('key-refused').getByText('There is a client key named Notes already.').waitFor();
    await page.getByTestId('key-name').fill('laptop');
    await page.getByTestId('key-models').fill('active, qwen*,');
    await page.getByTestId('key-at-once').fill('4');
    await shot(page, 'form');
    assert.deepEqual(await axeFindings(page), []);
    await page.getByTestId('key-make').click();
    const secret = await page.getByTestId('key-secret').textContent();
    assert.match(secret, /^ph_[0-9a-f]{64}$/);
    await eventually(() => page.evaluate(() => document.activeElement?.id), 'made-title');
    await page.getByTestId('copy-key').click();
    await page.getByRole('status').getByText('Copied').first().waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), secret);
    await row(page, 'laptop').getByText('active, qwen*').waitFor();
    await shot(page, 'made');
    assert.deepEqual(await axeFindings(page), []);
    await page.getByTestId('key-done').click();
    await eventually(() => page.getByTestId('key-secret').count(), 0);
    await eventually(() => focused(page), 'key-add');
    assert.ok(!(await page.content()).includes(secret), 'it is nowhere any more');
    await close(page);
  });

  it('revokes a key only after saying what that ends', async () => {
    const page = await open('revoke');
    await row(page, 'open-webui').getByTestId('key-revoke').click();
    await page.getByTestId('key-asks').getByText('2 answers under way go on to the end').waitFor();
    await shot(page, 'asks');
    assert.deepEqual(await axeFindings(page), []);
    await page.getByTestId('key-asks').getByRole('button', { name: 'Cancel' }).click();
    await eventually(() => page.getByTestId('key-asks').count(), 0);
    assert.equal(await row(page, 'open-webui').count(), 1);
    await row(page, 'open-webui').getByTestId('key-revoke').click();
    await page.getByTestId('confirm-revoke').click();
    await eventually(() => row(page, 'open-webui').count(), 0);
    await page.getByTestId('keys-said').getByText('open-webui is revoked.').waitFor();
    await close(page);
  });

  it('says of wrong keys, and when programs of this machine need one', async () => {
    const page = await open('wrong');
    page.engine.clientKeys.wrong = 3;
    page.engine.clientKeys.required = true;
    await page.getByTestId('keys-wrong').getByText('3 wrong keys since the start').waitFor();
    await page.getByTestId('keys-required').getByText('Every program needs one.').waitFor();
    await close(page);
  });

  for (const scheme of ['light', 'dark'])
    for (const size of [PANEL, { width: 1024, height: 900 }, WIDE])
      it(`axe finds nothing at ${size.width}, ${scheme}`, async () => {
        const page = await open(`axe${size.width}${scheme}`, { size, scheme });
        await page.getByTestId('key-add').click();
        await page.getByTestId('key-form').waitFor();
        await shot(page, `${size.width}-${scheme}`);
        await close(page);
      });
});
