// The page Connect in a real browser: the list, the lines, a file that is written and put back, a test. Simulated engine only.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { artefacts, axeFindings, eventually, launch, openPage, PANEL } from '../browser.mjs';
import { startSimulated } from '../simulated-server.mjs';

const { browser, why } = await launch();
const WIDE = { width: 1440, height: 900 };

describe('connect', { skip: why ?? false }, () => {
  let simulated;

  before(async () => {
    simulated = await startSimulated({ step: 150 });
  });

  after(async () => {
    await simulated?.stop();
    await browser?.close();
  });

  async function open(test, route = 'connect', { size = WIDE, scheme = 'light' } = {}) {
    const token = `hybrid-${test}`;
    const page = await openPage(browser, `${simulated.origin}/#token=${token}`, { size, scheme });
    page.setDefaultTimeout(30_000);
    await page.locator('#content').waitFor();
    await page.evaluate((hash) => (location.hash = hash), `#/${route}`);
    return Object.assign(page, { engine: simulated.engine(token) });
  }

  async function close(page, name) {
    await page.screenshot({ path: join(artefacts, `connect-${name}.png`) });
    assert.deepEqual(await axeFindings(page), []);
    assert.deepEqual(page.faults, []);
    await page.context().close();
  }

  const focused = (page) => page.evaluate(() => document.activeElement?.getAttribute('data-testid'));
  const standing = (page, words) => page.getByTestId('app-standing').getByText(words).waitFor();

  it('finds an app by keyboard, shows the difference, writes it, and puts it back', async () => {
    const page = await open('write');
    await page.getByTestId('app-item').first().waitFor();
    await page.keyboard.press('/');
    await eventually(() => focused(page), 'app-filter');
    await page.keyboard.type('claude');
    await page.waitForFunction(() => document.querySelectorAll('[data-testid="app-item"]').length === 1);
    await page.keyboard.press('ArrowDown');
    await eventually(() => focused(page), 'app-item');
    await page.keyboard.press('Enter');
    await standing(page, 'not set up');
    await eventually(() => page.locator('[data-testid="diff"] [data-kind="removed"]').count(), 1);
    await page.getByTestId('file-write').focus();
    await page.keyboard.press('Enter');
    await page.getByTestId('file-said').getByText('~/.claude/settings.json was written.').waitFor();
    await standing(page, /^\s*set up today/);
    await page.getByTestId('file-says-it').waitFor();
    await eventually(() => page.getByTestId('file-write').count(), 0);
    // The button is gone with what it did; the keyboard is still in its section.
    await eventually(() => page.evaluate(() => document.activeElement?.id), 'file-title');
    await page.screenshot({ path: join(artefacts, 'connect-written.png') });
    await page.getByTestId('file-undo').click();
    await page.getByTestId('file-said').getByText('is as it was before').waitFor();
    await standing(page, 'not set up');
    await close(page, 'put-back');
  });

  it('writes nothing over what somebody else has written meanwhile', async () => {
    const page = await open('busy', 'connect/codex');
    await page.getByTestId('file-write').waitFor();
    const { change } = (await page.engine.call({ call: 'connect', app: 'codex' })).connection;
    await page.engine.call({ call: 'connect_write', app: 'codex', digest: change.digest, dry_run: true });
    page.engine.apps.touch();
    await page.getByTestId('file-write').click();
    await page.getByTestId('file-error').getByText('has changed since').waitFor();
    await standing(page, 'not set up');
    // What is there now is shown: a second click is about that.
    await page.getByTestId('file-write').click();
    await standing(page, /^\s*set up today/);
    await close(page, 'busy');
  });

  it('says why a file is left alone, and still has the lines', async () => {
    const page = await open('refused', 'connect/zed');
    await page.getByTestId('file-refused').getByText('cannot be changed faithfully').waitFor();
    await page.getByTestId('copy-snippet').waitFor();
    await eventually(() => page.getByTestId('file-write').count(), 0);
    await close(page, 'refused');
  });

  it('asks by another name, which stands in the address and in the lines', async () => {
    const page = await open('names', 'connect/curl');
    await page.getByTestId('choose-model').selectOption('background');
    await page.getByTestId('snippet').getByText('"model": "background"').waitFor();
    assert.match(page.url(), /model=background/);
    await page.getByText('context not known: background is not loaded').waitFor();
    await close(page, 'names');
  });

  it('tests, and says what came back, good or not', async () => {
    const page = await open('test', 'connect/claude-code');
    await page.getByTestId('test-start').click();
    await page.locator('[data-testid="test-came"][data-ok="true"]').getByText('answered “Ready.”').waitFor();
    await page.evaluate(() => (location.hash = '#/connect/home-assistant'));
    await page.locator('article[data-id="home-assistant"]').waitFor();
    await eventually(() => page.getByTestId('test-came').count(), 0);
    await page.getByTestId('test-start').click();
    await page.locator('[data-testid="test-came"][data-ok="false"]').getByText('Not asked').waitFor();
    await close(page, 'test-failed');
  });

  it('makes a key for the app, which is in lines, file and test while the page is open and nowhere else', async () => {
    const page = await open('key', 'connect/claude-code');
    page.engine.clientKeys.required = true;
    await page.getByTestId('test-start').click();
    await page.locator('[data-testid="test-came"][data-ok="false"]').getByText('refused with 401').waitFor();
    await page.evaluate(() => (location.hash = '#/connect/codex'));
    await page.locator('article[data-id="codex"]').waitFor();
    const note = page.getByTestId('app-notes').getByText('This address asks every program for a key');
    await note.waitFor();
    // What cannot be a key is said where it is typed; lines and file stay as they are.
    await page.getByTestId('app-key').fill('a b');
    await page.getByTestId('app-key-hint').getByText('without spaces').waitFor();
    await eventually(() => page.getByTestId('snippet').getByText('a b').count(), 0);
    await page.screenshot({ path: join(artefacts, 'connect-key-refused.png') });
    await page.getByTestId('app-key').fill('');
    await page.getByTestId('make-key').focus();
    await page.keyboard.press('Enter');
    await page.getByTestId('app-said').getByText('The key “Codex” was made').waitFor();
    const secret = await page.getByTestId('app-key').inputValue();
    assert.match(secret, /^ph_[0-9a-f]{64}$/);
    await page.getByTestId('snippet').getByText(secret).waitFor();
    await page.locator('[data-testid="diff"] [data-kind="added"]').getByText(secret).waitFor();
    await eventually(() => note.count(), 0);
    await page.screenshot({ path: join(artefacts, 'connect-key.png') });
    assert.deepEqual(await axeFindings(page), []);
    await page.getByTestId('test-start').click();
    await page.locator('[data-testid="test-came"][data-ok="true"]').waitFor();
    await page.getByTestId('file-write').click();
    await standing(page, /^\s*set up today/);
    await page.getByTestId('make-key').click();
    await page.getByTestId('app-said').getByText('The key “Codex 2” was made').waitFor();
    assert.ok(!page.url().includes('ph_'));
    const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, history.state]));
    assert.ok(!kept.includes('ph_'), kept);
    // Another page and back: the field is empty, and the key in the file stays there.
    await page.evaluate(() => (location.hash = '#/connect/curl'));
    await page.locator('article[data-id="curl"]').waitFor();
    assert.equal(await page.getByTestId('app-key').inputValue(), '');
    await page.evaluate(() => (location.hash = '#/connect/codex'));
    await page.getByTestId('app-key-hint').getByText('Its file holds a key').waitFor();
    assert.equal(await page.getByTestId('app-key').inputValue(), '');
    await page.getByTestId('file-says-it').waitFor();
    await eventually(() => note.count(), 0);
    await close(page, 'key-kept');
  });

  it('says that the port for Ollama’s own API is off, and opens it', async () => {
    const page = await open('ollama-port', 'connect/home-assistant');
    await page.getByTestId('app-no-address').getByText('switched off in the settings').waitFor();
    await page.getByTestId('app-notes').getByText('set gateway.ollama_port to 11435').waitFor();
    await eventually(() => page.getByTestId('snippet').count(), 0);
    assert.deepEqual(await axeFindings(page), []);
    await page.screenshot({ path: join(artefacts, 'connect-ollama-port.png') });
    await page.getByTestId('open-port').click();
    await page.getByTestId('app-said').getByText('gateway.ollama_port is 11435 now.').waitFor();
    await page.getByTestId('app-address').waitFor();
    await page.getByTestId('snippet').first().waitFor();
    await eventually(() => page.getByTestId('open-port').count(), 0);
    await close(page, 'ollama-port-set');
  });

  it('copies the lines as they are', async () => {
    const page = await open('copy', 'connect/claude-code');
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.getByTestId('copy-snippet').first().click();
    await page.getByRole('status').getByText('Copied').first().waitFor();
    const copied = JSON.parse(await page.evaluate(() => navigator.clipboard.readText()));
    assert.equal(copied.env.ANTHROPIC_MODEL, 'active');
    await page.context().close();
  });

  for (const scheme of ['light', 'dark'])
    for (const size of [PANEL, { width: 1024, height: 900 }, WIDE])
      it(`axe finds nothing at ${size.width}, ${scheme}`, async () => {
        const page = await open(`axe${size.width}${scheme}`, 'connect', { size, scheme });
        await page.getByTestId('app-item').first().waitFor();
        assert.deepEqual(await axeFindings(page), []);
        await page.screenshot({ path: join(artefacts, `connect-${size.width}-${scheme}.png`) });
        await page.evaluate(() => (location.hash = '#/connect/claude-code'));
        await page.getByTestId('diff').waitFor();
        await close(page, `one-${size.width}-${scheme}`);
      });
});
