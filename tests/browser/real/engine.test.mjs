// What must hold with a real `pilothouse serve` and its file: the page Settings, and how a browser is known again. The program is
// the built one, or PILOTHOUSE_PROGRAM; no model and no language-model server is needed.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { artefacts, axeFindings, eventually, launch } from '../browser.mjs';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const built = join(root, process.env.CARGO_TARGET_DIR ?? 'target', 'debug/pilothouse');
const program = process.env.PILOTHOUSE_PROGRAM ?? built;
const { browser, why } = await launch();
const missing = why ?? (existsSync(program) ? null : `no program at ${program}`);
// What is skipped ends nothing.
if (missing) await browser?.close();

const SETTINGS = `# mine
[gateway]
port = 0 # any
wait_s = 25   # for the indexer

[servers.llama-server]
enabled = false
[servers.ollama]
enabled = false
[servers.lmstudio]
enabled = false
`;

describe('the web UI on a real engine', { skip: missing ?? false }, () => {
  let home;
  let engine;
  let url;

  before(async () => {
    home = mkdtempSync(join(tmpdir(), 'pilothouse-real-'));
    mkdirSync(join(home, 'config'));
    writeFileSync(join(home, 'config/settings.toml'), SETTINGS);
    await start();
  });

  after(async () => {
    await stop();
    await browser?.close();
    rmSync(home, { recursive: true, force: true });
  });

  async function start() {
    const env = { ...process.env, PILOTHOUSE_HOME: home, HOME: home, DOCKER_HOST: `unix://${home}/no-docker.sock` };
    engine = spawn(program, ['serve'], { env, stdio: ['ignore', 'pipe', 'ignore'] });
    const [line] = await Promise.race([
      createInterface({ input: engine.stdout })
        [Symbol.asyncIterator]()
        .next()
        .then((first) => [first.value]),
      new Promise((_, reject) => engine.once('exit', (code) => reject(new Error(`the engine ended with ${code}`)))),
    ]);
    url = JSON.parse(line).url;
  }

  async function stop() {
    if (!engine || engine.exitCode !== null) return;
    const ended = new Promise((resolve) => engine.once('exit', resolve));
    engine.kill('SIGTERM');
    await ended;
  }

  const file = () => readFileSync(join(home, 'config/settings.toml'), 'utf8');

  async function person() {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, reducedMotion: 'reduce' });
    context.setDefaultTimeout(30_000);
    return context;
  }

  it('a value that is changed on the page stands in the file, with its remark', async () => {
    const context = await person();
    const page = await context.newPage();
    await page.goto(url);
    await page.getByRole('navigation').getByRole('link', { name: 'Settings' }).click();
    const wait = page.getByRole('textbox', { name: 'Longest wait during a switch' });
    await eventually(() => wait.inputValue(), '25');
    await page.keyboard.press('/');
    await page.keyboard.type('during a switch');
    await wait.fill('40');
    await wait.press('Tab');
    await page.getByRole('button', { name: 'Reset Longest wait during a switch' }).waitFor();
    await page.waitForFunction(() =>
      document.querySelector('[data-testid="settings-state"]').textContent.includes('found'),
    );
    await page.getByTestId('settings-search').press('Escape');
    assert.deepEqual(await axeFindings(page), []);
    await page.screenshot({ path: join(artefacts, 'real-settings.png') });
    assert.equal(file(), SETTINGS.replace('wait_s = 25   # for', 'wait_s = 40   # for'));

    await wait.fill('601');
    await wait.press('Tab');
    await page.getByTestId('setting-refused').getByText('Allowed: 1 to 600 s.').waitFor();
    assert.equal(file(), SETTINGS.replace('wait_s = 25', 'wait_s = 40'), 'nothing was written');
    await page.getByRole('button', { name: 'Back to 40 s' }).click();

    // Somebody saves the file in an editor while the page is open.
    writeFileSync(join(home, 'config/settings.toml'), SETTINGS.replace('wait_s = 25', 'wait_s = 26'));
    await page.getByRole('textbox', { name: 'Time for answers to end' }).fill('5');
    await page.getByRole('textbox', { name: 'Time for answers to end' }).press('Tab');
    await page.getByTestId('settings-outside').getByText('gateway.wait_s is 26 now').waitFor();
    await eventually(() => wait.inputValue(), '26');
    assert.ok(!file().includes('drain_s'), 'not over what somebody else has written');
    await context.close();
  });

  it('a browser is known in a second tab, by a bookmark and after a restart; the address never shows the token', async () => {
    const context = await person();
    const page = await context.newPage();
    await page.goto(url);
    await page.getByRole('navigation').first().waitFor();
    assert.ok(!page.url().includes('token'));
    await eventually(() => page.evaluate(() => document.cookie + JSON.stringify({ ...sessionStorage })), '{}');
    const { origin } = new URL(url);

    const second = await context.newPage();
    await second.goto(`${origin}/#/settings`);
    await second.getByTestId('settings').waitFor();

    await stop();
    await page.getByTestId('offline').waitFor();
    await start();
    assert.equal(new URL(url).origin, origin, 'the same port');
    await page.getByTestId('offline').waitFor({ state: 'detached' });
    await page.getByRole('link', { name: 'Settings' }).click();
    await page.getByTestId('settings').waitFor();
    await second.reload();
    await second.getByTestId('settings').waitFor();

    const stranger = await person();
    const locked = await stranger.newPage();
    await locked.goto(`${origin}/#/settings`);
    await locked.getByTestId('unauthorized').waitFor();
    await stranger.close();
    await context.close();
  });
});
