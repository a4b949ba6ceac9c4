// The page without eyes and without a pointer: a switch, a benchmark and a setting, by keyboard alone, each step held against
// what the accessibility tree says has the focus and what live regions announce. Simulated engine.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { launch, openPage } from '../browser.mjs';
import { startSimulated } from '../simulated-server.mjs';
import { listen } from '../spoken.mjs';

const { browser, why } = await launch();

describe('by keyboard and ear (simulated engine)', { skip: why ?? false }, () => {
  let simulated;

  before(async () => {
    simulated = await startSimulated({ step: 400 });
  });

  after(async () => {
    await simulated?.stop();
    await browser?.close();
  });

  async function open(test) {
    const page = await openPage(browser, `${simulated.origin}/#token=ready-${test}`);
    page.setDefaultTimeout(30_000);
    await page.getByTestId('model-row').first().waitFor();
    return { page, ear: await listen(page), press: (keys) => page.keyboard.press(keys) };
  }

  async function close(page) {
    const { faults } = page;
    await page.context().close();
    assert.deepEqual(faults, []);
  }

  it('switches, goes back, gives up and is refused', async () => {
    const { page, ear, press } = await open('switch');
    await press('Tab');
    await ear.isHere(/^Skip to content, button$/);
    await press('Enter');
    await ear.isHere(/main$/);
    await press('/');
    await ear.isHere(/^Filter models, searchbox/);
    await page.keyboard.type('gemma');
    await ear.hears(/^1 of 5 models$/);
    await press('ArrowDown');
    await ear.isHere(/^Switch to Gemma 3 270M on llama-server · Q4_K_M · 253 MB needs about 460 MB, button$/);
    await press('Enter');
    await ear.hears(/^Loading: Gemma 3 270M on llama-server$/);
    // Said once for each phase: figures that change all the time would talk over everything else.
    await ear.hears(/^Gemma 3 270M is active\.$/);
    await ear.finds(/^Gemma 3 270M, heading, level 1$/);
    await ear.isHere(/^Gemma 3 270M on llama-server · Q4_K_M · 253 MB active, button$/);

    await ear.tabTo(/^Undo: back to SmolLM2 135M Instruct, button$/, { back: true });
    await press('Enter');
    await ear.isHere(/heading, level 1$/);
    await ear.hears(/^Loading: SmolLM2 135M Instruct on llama-server$/);
    const percentages = (await ear.heard()).filter((text) => /%|left/.test(text));
    assert.deepEqual(percentages, []);
    await ear.hears(/^SmolLM2 135M Instruct is active\.$/);

    await press('/');
    await press('ControlOrMeta+a');
    await page.keyboard.type('llama 3.1');
    await press('ArrowDown');
    await ear.isHere(/^Switch to Llama 3\.1 8B Instruct on Ollama/);
    await simulated.held('ready-switch', async () => {
      await press('Enter');
      await page.locator('[data-testid="switching"]').waitFor();
      await ear.tabTo(/^Cancel the switch to Llama 3\.1 8B Instruct, button$/, { most: 1 });
      await press('Enter');
    });
    await ear.hears(/^Switch to Llama 3\.1 8B Instruct cancelled\.$/);
    await ear.isHere(/^Switch to Llama 3\.1 8B Instruct on Ollama/);

    await press('/');
    await press('ControlOrMeta+a');
    await page.keyboard.type('72b');
    await press('ArrowDown');
    await ear.isHere(/^Switch to Qwen2\.5 72B Instruct on .* Does not fit: .*, button$/);
    await press('Enter');
    await ear.hears(/^Put back SmolLM2 135M Instruct: ./);
    await close(page);
  });

  it('says where it is, measures, and leads to the result', async () => {
    const { page, ear, press } = await open('bench');
    await press('7');
    await ear.hears(/^Benchmarks$/);
    await ear.finds(/^Benchmarks, heading, level 1$/);
    await ear.tabTo(/^Model, combobox, collapsed, “Active model”$/);
    await ear.tabTo(/^Plan, combobox, collapsed, “Quick”$/, { most: 1 });
    await ear.tabTo(/^Start benchmark, button$/, { most: 1 });
    simulated.stopsAt('ready-bench', ({ bench }) => bench?.phase === 'measured' && bench.done === 2);
    await press('Enter');
    await ear.isHere(/^Cancel the benchmark, button$/);
    await ear.hears(/^Trial 3 of 5$/);
    await simulated.held('ready-bench', () => ear.finds(/^Trial \d of 5, progressbar/));
    await ear.hears(/^Measured SmolLM2 135M Instruct: .* tok\/s/);
    await ear.isHere(/^Show the result, link$/);
    await press('Enter');
    await page.getByTestId('run-page').getByRole('heading', { level: 2, name: 'Trials' }).waitFor();
    // What had the focus is gone with its page: the keyboard is at the new one, not at the begin of everything.
    await ear.isHere(/main$/);

    await press('7');
    await page.getByTestId('bench-start').focus();
    await simulated.held('ready-bench', async () => {
      await press('Enter');
      await ear.isHere(/^Cancel the benchmark, button$/);
      await press('Enter');
    });
    await ear.hears(/^The benchmark of SmolLM2 135M Instruct was cancelled\. What was measured is kept\.$/);
    await ear.isHere(/^Start benchmark, button$/);
    await close(page);
  });

  it('finds a setting, is refused with what is allowed, and hears that it is saved and what waits', async () => {
    const { page, ear, press } = await open('settings');
    await press('0');
    await ear.hears(/^Settings$/);
    await page.getByTestId('settings-state').waitFor();
    await press('/');
    await ear.isHere(/^Search settings, searchbox/);
    await page.keyboard.type('during a switch');
    await ear.hears(/^1 setting found\.$/);
    await ear.tabTo(/^Longest wait during a switch, textbox, “\d+”$/);
    await ear.isDescribed(/./);
    await press('ControlOrMeta+a');
    await page.keyboard.type('601');
    await press('Enter');
    await ear.hears(/Allowed: 1 to 600 s\./);
    await ear.isHere(/^Longest wait during a switch, textbox, invalid, “601”$/);
    await ear.isDescribed(/Allowed: 1 to 600 s\./);
    await press('ControlOrMeta+a');
    await page.keyboard.type('40');
    await press('Enter');
    await ear.hears(/^Longest wait during a switch is 40 s now\.$/);
    await ear.isHere(/^Longest wait during a switch, textbox, “40”$/);
    await ear.tabTo(/^Reset Longest wait during a switch, button$/, { most: 1 });
    await press('Enter');
    await ear.hears(/^Longest wait during a switch is \d+ s now\.$/);
    // The button is gone with what it undid: the keyboard is at the value.
    await ear.isHere(/^Longest wait during a switch, textbox, “\d+”$/);

    // A slash is a letter in a field: back to the search goes Tab.
    await ear.tabTo(/^Search settings, searchbox/, { back: true });
    await press('ControlOrMeta+a');
    await page.keyboard.type('llama-server at a time');
    await ear.tabTo(/^Requests at a time, textbox, “1”$/);
    await press('ControlOrMeta+a');
    await page.keyboard.type('2');
    await press('Enter');
    await ear.hears(/^Requests at a time is 2 after a restart\.$/);
    await close(page);
  });
});
