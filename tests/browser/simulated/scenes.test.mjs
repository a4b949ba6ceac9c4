// Scenes, unloading, pins and undo in a real browser. Simulated engine only.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { artefacts, axeFindings, eventually, launch, openPage, PANEL } from '../browser.mjs';
import { startSimulated } from '../simulated-server.mjs';

const { browser, why } = await launch();
const WIDE = { width: 1440, height: 900 };

describe('scenes', { skip: why ?? false }, () => {
  let simulated;

  before(async () => {
    simulated = await startSimulated({ step: 150 });
  });

  after(async () => {
    await simulated?.stop();
    await browser?.close();
  });

  async function open(test, route = 'scenes', { state = 'hybrid', size = WIDE, scheme = 'light' } = {}) {
    const token = `${state}-${test}`;
    const page = await openPage(browser, `${simulated.origin}/#token=${token}`, { size, scheme });
    page.setDefaultTimeout(30_000);
    await page.locator('#content').waitFor();
    await page.evaluate((hash) => (location.hash = hash), `#/${route}`);
    return Object.assign(page, { engine: simulated.engine(token) });
  }

  async function close(page, name) {
    await page.screenshot({ path: join(artefacts, `scenes-${name}.png`) });
    assert.deepEqual(await axeFindings(page), []);
    assert.deepEqual(page.faults, []);
    await page.context().close();
  }

  const row = (page, role) => page.locator(`[data-testid="scene-role"][data-role="${role}"]`);
  const item = (page, name) => page.locator(`[data-testid="scene-item"][data-name="${name}"]`);
  const names = (page) =>
    page.getByTestId('scene-item').evaluateAll((all) => all.map((one) => one.getAttribute('data-name')));
  const snapshot = async (page) => (await page.engine.call({ call: 'snapshot' })).snapshot;

  it('is made from the template, changed, and applied; and goes back', async () => {
    const page = await open('template', 'scenes', { state: 'many' });
    await page.getByTestId('scene-hybrid').click();
    await row(page, 'critical').waitFor();
    await page.getByTestId('scene-changes').getByText('not saved').waitFor();
    await row(page, 'background').getByTestId('role-context').fill('8192');
    await page.getByTestId('scene-segment').first().waitFor();
    assert.deepEqual(await axeFindings(page), []);
    simulated.stopsAt('many-template', ({ arranging }) => arranging !== null);
    await page.locator('[data-testid="scene-apply"]:not(:disabled)').click();
    await page.getByTestId('scene-progress').waitFor();
    await simulated.held('many-template', () => page.screenshot({ path: join(artefacts, 'scenes-applying.png') }));
    await page
      .getByTestId('scene-said')
      .getByText(/^Hybrid is in force after/)
      .waitFor();
    await item(page, 'Hybrid').getByText('in force').waitFor();
    const applied = await snapshot(page);
    assert.deepEqual(
      applied.roles.map((one) => [one.role, one.model.server, one.leads]),
      [
        ['background', 'ollama', false],
        ['critical', 'lmstudio', true],
      ],
    );
    assert.equal(applied.scenes[0].roles.background.context, 8192);
    await page.getByTestId('scene-undo').click();
    await page.getByTestId('scene-said').getByText('Taken back.').waitFor();
    await eventually(async () => (await snapshot(page)).roles, []);
    await close(page, 'template');
  });

  it('shows at each edit what it means, and takes it back', async () => {
    const page = await open('edit', 'scenes/Search%20night');
    await page.getByTestId('scene-stories').getByText('are not touched').waitFor();
    const free = () => page.getByTestId('scene-free').innerText();
    const before = await free();
    const model = row(page, 'background').getByTestId('role-model');
    await model.click();
    await model.fill('gemma 3 12b ollama');
    await page.keyboard.press('Enter');
    await page.waitForFunction(
      (said) => document.querySelector('[data-testid="scene-free"]')?.innerText !== said,
      before,
    );
    await page
      .getByTestId('scene-stories')
      .getByText(/until Gemma 3 12B has given a first token$/)
      .waitFor();
    await page.getByText('time not known yet').last().waitFor();
    await page.screenshot({ path: join(artefacts, 'scenes-edited.png') });
    assert.deepEqual(await axeFindings(page), []);
    // What is not saved is still there after a look at another page.
    await page.evaluate(() => (location.hash = '#/servers'));
    await page.getByTestId('server-card').first().waitFor();
    await page.evaluate(() => (location.hash = '#/scenes/Search%20night'));
    await page.getByText('not saved: model of background').waitFor();
    await page.getByTestId('scene-revert').click();
    await page.waitForFunction(
      (said) => document.querySelector('[data-testid="scene-free"]')?.innerText.slice(0, 3) === said.slice(0, 3),
      before,
    );
    await close(page, 'edit');
  });

  it('is refused with the arithmetic, and applied with an offer', async () => {
    const page = await open('refusal', 'scenes/Big%20and%20small');
    await page
      .getByTestId('scene-refusal')
      .getByText(/needs [\d.]+ GB more than fits/)
      .waitFor();
    await page.getByTestId('scene-offer').getByText('not enough alone').waitFor();
    await page.screenshot({ path: join(artefacts, 'scenes-refusal.png') });
    assert.deepEqual(await axeFindings(page), []);
    await page.getByTestId('scene-offer').filter({ hasText: 'Without background' }).click();
    await page
      .getByTestId('scene-offer')
      .getByText(/stay free$/)
      .waitFor();
    await page.getByRole('button', { name: /^Apply without background/ }).click();
    await page
      .getByTestId('scene-said')
      .getByText(/^Big and small is in force/)
      .waitFor();
    const { roles, active } = await snapshot(page);
    assert.deepEqual(
      roles.map((one) => one.role),
      ['critical', 'embed'],
    );
    assert.equal(active.model, 'google/gemma-3-27b');
    await item(page, 'Big and small').getByText('in force, edited').waitFor();
    await close(page, 'offer-taken');
  });

  it('that fails is put back, and says why', async () => {
    const page = await open('fails', 'scenes/Coding');
    page.engine.residency.failing.add('lmstudio/google/gemma-3-12b');
    const before = (await snapshot(page)).instances;
    await page.locator('[data-testid="scene-apply"]:not(:disabled)').click();
    await page
      .getByTestId('scene-said')
      .getByText(/^Put back as it was before\. Gemma 3 12B could not be loaded/)
      .waitFor();
    await eventually(async () => (await snapshot(page)).instances, before);
    page.engine.residency.failing.clear();
    await simulated.held('hybrid-fails', async () => {
      await page.locator('[data-testid="scene-apply"]:not(:disabled)').click();
      await page.getByTestId('scene-cancel').click();
    });
    await page.getByTestId('scene-said').getByText('Cancelled. Everything is as it was before.').waitFor();
    await eventually(async () => (await snapshot(page)).instances, before);
    await close(page, 'failed');
  });

  it('goes out as a file and comes back', async () => {
    const page = await open('files', 'scenes/Coding');
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByTestId('scene-export').click()]);
    assert.equal(download.suggestedFilename(), 'Coding.json');
    const path = join(artefacts, 'coding.json');
    await download.saveAs(path);
    const scene = JSON.parse(await readFile(path, 'utf8'));
    assert.equal(scene.name, 'Coding');
    await page.getByTestId('scene-delete').click();
    await page.getByTestId('scene-delete-it').click();
    await item(page, 'Coding').waitFor({ state: 'detached' });
    const choose = async (file) => {
      const [chooser] = await Promise.all([page.waitForEvent('filechooser'), page.getByTestId('scene-import').click()]);
      await chooser.setFiles(file);
    };
    await choose({ name: 'x.json', mimeType: 'application/json', buffer: Buffer.from('{"name":"S","roles":7}') });
    await page.getByTestId('scene-error').getByText('This file holds no scene').waitFor();
    await choose(path);
    await page.getByTestId('scene-said').getByText('Coding was read from the file.').waitFor();
    await page.getByTestId('scene-save').click();
    await page.getByTestId('scene-said').getByText('Coding is saved.').waitFor();
    await page.waitForFunction(() => document.querySelector('[data-testid="scene-changes"]') === null);
    await eventually(async () => (await snapshot(page)).scenes.find((one) => one.name === 'Coding').roles, scene.roles);
    await close(page, 'files');
  });

  it('is dragged to another place, and stays there', async () => {
    const page = await open('drag');
    await item(page, 'Big and small').dragTo(item(page, 'Hybrid'));
    const wanted = ['Big and small', 'Hybrid', 'Coding', 'Search night', 'Free the memory'];
    await page.waitForFunction(
      (all) =>
        JSON.stringify([...document.querySelectorAll('[data-testid="scene-item"]')].map((one) => one.dataset.name)) ===
        JSON.stringify(all),
      wanted,
    );
    await page.reload();
    await item(page, 'Hybrid').waitFor();
    await eventually(() => names(page), wanted);
    await close(page, 'dragged');
  });

  it('is made and applied by keyboard alone', async () => {
    const page = await open('keyboard');
    await item(page, 'Hybrid').waitFor();
    const focused = () =>
      page.evaluate(() => {
        const one = document.activeElement;
        return one?.getAttribute('aria-label') ?? one?.textContent?.trim() ?? '';
      });
    const tabTo = async (name) => {
      for (let n = 0; n < 60; n += 1) {
        if (name.test(await focused())) return;
        await page.keyboard.press('Tab');
      }
      assert.fail(`Tab does not reach ${name}, but ${await focused()}`);
    };
    await page.keyboard.press('3');
    await tabTo(/^New$/);
    await page.keyboard.press('Enter');
    await page.getByTestId('scene-name').waitFor();
    await tabTo(/^Name of the scene$/);
    await page.keyboard.press('Control+A');
    await page.keyboard.type('By hand');
    await tabTo(/^Add a role$/);
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.activeElement?.getAttribute('data-testid') === 'role-name');
    await eventually(() => focused(), 'Role of critical');
    await tabTo(/^Model of critical$/);
    await page.keyboard.type('phi-3 ollama');
    await page.getByRole('option').first().waitFor();
    await page.keyboard.press('Enter');
    await tabTo(/^Pin of critical$/);
    await page.keyboard.press('Space');
    await tabTo(/^Idle limit of critical$/);
    await page.keyboard.type('45');
    await tabTo(/^Priority of critical$/);
    await eventually(() => row(page, 'critical').getByTestId('role-idle').inputValue(), '45 min');
    await page.locator('[data-testid="scene-apply"]:not(:disabled)').waitFor();
    await tabTo(/^Apply/);
    await page.keyboard.press('Enter');
    await page
      .getByTestId('scene-said')
      .getByText(/^By hand is in force/)
      .waitFor();
    const { roles } = await snapshot(page);
    assert.deepEqual(
      roles.map((one) => [one.role, one.model.model, one.pinned, one.idle_s]),
      [['critical', 'phi3:3.8b', true, 2700]],
    );
    await item(page, 'By hand').focus();
    await page.keyboard.press('Alt+ArrowUp');
    await page.getByText('By hand is 4 of 5.').waitFor({ state: 'attached' });
    await page.waitForFunction(() => document.activeElement?.getAttribute('data-name') === 'By hand');
    await page.getByTestId('scene-undo').waitFor();
    await page.keyboard.press('u');
    await page.getByTestId('scene-said').getByText('Taken back.').waitFor();
    await eventually(async () => (await snapshot(page)).roles.length, 4);
    await page.keyboard.press('?');
    await page.getByRole('dialog', { name: 'Keys' }).getByText('Undo, for a minute after a change').waitFor();
    await page.keyboard.press('Escape');
    await close(page, 'keyboard');
  });

  it('announces each step politely, and nothing with each percent', async () => {
    const page = await open('heard', 'scenes/Coding');
    await page.evaluate(() => {
      globalThis.heard = [];
      const look = () => {
        const regions = [...document.querySelectorAll('[role="status"]')].map((one) => one.textContent.trim());
        for (const words of regions.filter((one) => /^(Applying|Coding is in force)/.test(one)))
          if (globalThis.heard.at(-1) !== words) globalThis.heard.push(words);
      };
      new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
    });
    await page.locator('[data-testid="scene-apply"]:not(:disabled)').focus();
    await page.keyboard.press('Enter');
    await page.getByTestId('scene-said').waitFor();
    const heard = await page.evaluate(() => globalThis.heard);
    assert.ok(heard.length > 1 && heard.every((one) => !/%| s left/.test(one)), String(heard));
    assert.equal(new Set(heard).size, heard.length);
    assert.match(heard.at(-1), /^Coding is in force after /);
    // The button that was pressed has gone; the keyboard has not.
    await eventually(() => page.evaluate(() => document.activeElement?.getAttribute('data-testid')), 'scene-foot');
    await close(page, 'heard');
  });

  it('unloads and pins from the row, and the way back is there for a minute', async () => {
    const page = await open('unload', 'models');
    const rowOf = (id) => page.locator(`[data-testid="table-row"][data-id="${id}"]`);
    const active = rowOf('lmstudio/qwen2.5-7b-instruct-mlx');
    await active.getByTestId('role-tags').getByText('critical').waitFor();
    await rowOf('ollama/llama3.2:1b').getByText('on request, leaves in 14 min').waitFor();
    await rowOf('ollama/llama3.2:1b').hover();
    await rowOf('ollama/llama3.2:1b').getByTestId('pin').click();
    await rowOf('ollama/llama3.2:1b').getByTestId('pin-mark').waitFor();
    await rowOf('ollama/llama3.2:1b').getByTestId('unload').click();
    await page.getByTestId('models-foot').getByText('Llama 3.2 1B Instruct is pinned.').waitFor();
    await active.hover();
    await page.screenshot({ path: join(artefacts, 'scenes-models.png') });
    await active.getByTestId('unload').click();
    await page.getByTestId('models-foot').getByText('No model is active.').waitFor();
    await eventually(async () => (await snapshot(page)).active, null);
    const undo = page.getByTestId('models-undo');
    await undo.getByText('Undo: back to Hybrid').waitFor();
    await undo.click();
    await page.getByTestId('models-foot').getByText('Taken back.').waitFor();
    await eventually(async () => (await snapshot(page)).active.model, 'qwen2.5-7b-instruct-mlx');
    await undo.waitFor({ state: 'detached' });
    await close(page, 'unloaded');
  });

  it('stands in the head with its roles, and leads to itself', async () => {
    for (const [shape, size] of [
      ['window', WIDE],
      ['panel', PANEL],
    ]) {
      const page = await open(`head-${shape}`, 'now', { size });
      await page.getByTestId('role-chip').first().waitFor();
      await eventually(() => page.getByTestId('role-chip').count(), 4);
      const scrolls = await page.evaluate(() => {
        const main = document.querySelector('#content');
        return main.scrollHeight - main.clientHeight;
      });
      if (shape === 'panel') assert.equal(scrolls, 0);
      await page.screenshot({ path: join(artefacts, `scenes-head-${shape}.png`) });
      await page.getByTestId('roles-in-force').getByRole('link').click();
      await page.getByTestId('scene-editor').waitFor();
      await close(page, `head-${shape}`);
    }
  });

  for (const scheme of ['light', 'dark'])
    it(`axe finds nothing in any state: ${scheme}`, async () => {
      const findings = [];
      for (const [name, route, state, size] of [
        ['in-force', 'scenes', 'hybrid', WIDE],
        ['refused', 'scenes/Big%20and%20small', 'hybrid', WIDE],
        ['built-in', 'scenes/Free%20the%20memory', 'hybrid', WIDE],
        ['empty', 'scenes', 'many', WIDE],
        ['first-start', 'scenes', 'first-start', WIDE],
        ['list', 'scenes', 'hybrid', PANEL],
        ['narrow', 'scenes/Big%20and%20small', 'hybrid', PANEL],
      ]) {
        const page = await open(`axe-${name}-${scheme}`, route, { state, size, scheme });
        await page.getByTestId('scenes-page').waitFor();
        if (state === 'hybrid' && name !== 'list') await page.getByTestId('scene-memory').waitFor();
        if (name === 'refused') {
          await row(page, 'critical').getByTestId('role-model').click();
          await page.getByRole('option').first().waitFor();
          await row(page, 'embed').getByTestId('role-parallel').fill('65');
        }
        findings.push(...(await axeFindings(page)).map((one) => `${name}: ${one}`));
        await page.context().close();
      }
      assert.deepEqual(findings, []);
    });
});
