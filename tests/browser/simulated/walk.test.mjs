// A walk through the page by keyboard and ear, written as what is spoken: each thing that has the focus with its name, role, state and
// explanation, all that is announced in its order, and nothing besides. Chromium's accessibility tree stands in for a screen
// reader. Simulated engine: a step ends only when the page has shown it, so that nothing is missed on a slow machine.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { launch, openPage, PANEL } from '../browser.mjs';
import { startSimulated } from '../simulated-server.mjs';
import { listen } from '../spoken.mjs';

const { browser, why } = await launch();

describe('a walk by keyboard and ear (simulated engine)', { skip: why ?? false }, () => {
  let simulated;

  before(async () => {
    simulated = await startSimulated({ step: 250 });
  });

  after(async () => {
    await simulated?.stop();
    await browser?.close();
  });

  /** `scene` names the engine's state, and `test` makes it this test's own. */
  async function open(test, { scene = 'ready', size } = {}) {
    const token = `${scene}-walk-${test}`;
    const page = await openPage(browser, `${simulated.origin}/#token=${token}`, size && { size });
    page.setDefaultTimeout(30_000);
    await page.getByRole('heading', { level: 1 }).first().waitFor();
    const press = async (...keys) => {
      for (const key of keys) await page.keyboard.press(key);
    };
    /** All at once, as fast fingers do. */
    const retype = async (text) => {
      await press('ControlOrMeta+a');
      await page.keyboard.insertText(text);
    };
    const ear = await listen(page);
    return { page, token, ear, press, retype, engine: () => simulated.engine(token) };
  }

  async function close(page) {
    const { faults } = page;
    await page.context().close();
    assert.deepEqual(faults, []);
  }

  /** What is said of a switch that goes well: each long phase once, and no figure that changes all the time. */
  const switched = (model, server) => [
    `Preparing: ${model} on ${server}`,
    `Waiting for answers to end: ${model} on ${server}`,
    `Loading: ${model} on ${server}`,
    `${model} is active.`,
  ];

  describe('switching a model', () => {
    it('says where one is, what a row does, and each long phase once', async () => {
      const { page, token, ear, press, retype } = await open('switch');
      await ear.reads('header.now', (lines) =>
        assert.deepEqual(lines, [
          'SmolLM2 135M Instruct, heading, level 1',
          'Ready',
          'llama-server · Q4_1 · 98.4 MB',
          '108 tok/s · first token 22.2 ms',
          '(last benchmark)',
        ]),
      );
      await press('/');
      await ear.isHere(/^Filter models, searchbox$/);
      await retype('llama 3.1');
      assert.deepEqual(await ear.hearsUntil(/models$/), ['1 of 5 models']);
      await press('ArrowDown');
      await ear.isHere(/^Switch to Llama 3\.1 8B Instruct on Ollama · Q4_K_M · 4\.92 GB needs about 5\.41 GB, button$/);
      simulated.stopsAt(token, ({ switching }) => switching?.phase === 'loading');
      await press('Enter');
      await page.locator('[data-testid="switching"][data-phase="loading"]').waitFor();
      await simulated.held(token, async () => {
        // The keyboard stays; the row says what it does now, how far it is, and how it is ended.
        await ear.isHere(/^Llama 3\.1 8B Instruct on Ollama · Q4_K_M · 4\.92 GB, button$/);
        await ear.reads('li.busy', ([row, phase, cancel, progress]) => {
          assert.match(row, /^Llama 3\.1 8B Instruct on Ollama · Q4_K_M · 4\.92 GB, button$/);
          assert.match(phase, /^Loading · \d+\s% · about \d+\ss left$/);
          assert.equal(cancel, 'Cancel the switch to Llama 3.1 8B Instruct, button');
          assert.match(progress, /^Loading, progressbar/);
        });
        await ear.tabTo(/^Cancel the switch to Llama 3\.1 8B Instruct, button$/, { most: 1 });
        await ear.tabTo(/^Llama 3\.1 8B Instruct on Ollama/, { back: true, most: 1 });
      });
      assert.deepEqual(await ear.hearsUntil(/is active\.$/), switched('Llama 3.1 8B Instruct', 'Ollama'));
      await ear.isHere(/^Llama 3\.1 8B Instruct on Ollama · Q4_K_M · 4\.92 GB active, button$/);
      // What is active is no switch: Enter on it does nothing, and says nothing.
      await press('Enter');
      await page.waitForTimeout(600);
      assert.deepEqual(await ear.heard(), []);
      await close(page);
    });

    it('says of two switches only the second as done', async () => {
      const { page, token, ear, press, retype } = await open('two');
      await press('/');
      await retype('gemma');
      simulated.stopsAt(token, ({ switching }) => switching?.phase === 'draining');
      await press('Enter');
      await page.locator('[data-testid="switching"][data-phase="draining"]').waitFor();
      await simulated.held(token, async () => {
        await retype('llama 3.1');
        await press('Enter');
        await page.getByTestId('switching').filter({ hasText: 'Llama 3.1' }).waitFor();
      });
      const heard = (await ear.hearsUntil(/is active\.$/)).filter((text) => !/models$/.test(text));
      assert.deepEqual(
        heard.filter((text) => /active|cancelled/.test(text)),
        ['Llama 3.1 8B Instruct is active.'],
      );
      assert.deepEqual(heard.slice(-4), switched('Llama 3.1 8B Instruct', 'Ollama'));
      await close(page);
    });

    it('says why it was put back, and leads on by keyboard', async () => {
      const { page, ear, press, retype } = await open('back');
      await press('/');
      await retype('72b');
      await press('ArrowDown');
      await ear.isHere(
        /^Switch to Qwen2\.5 72B Instruct on Ollama · Q4_K_M · 47\.4 GB Does not fit: the weights take 47\.4 GB, the machine has 16\.8 GB, button$/,
      );
      await ear.tabTo(/^What would fit instead of Qwen2\.5 72B Instruct, link$/, { most: 1 });
      await press('Shift+Tab', 'Enter');
      const heard = await ear.hearsUntil(/^Put back/);
      assert.equal(heard.at(-1), 'Put back SmolLM2 135M Instruct: the weights take 47.4 GB, the machine has 16.8 GB');
      assert.equal(
        heard.some((text) => /is active/.test(text)),
        false,
      );
      await ear.tabTo(/^Dismiss, button$/, { back: true });
      await press('Enter');
      await ear.isHere(/^SmolLM2 135M Instruct, heading, level 1$/);
      await close(page);
    });

    it('goes the same way in the narrow panel', async () => {
      const { page, ear, press, retype } = await open('panel', { size: PANEL });
      await press('/');
      await ear.isHere(/^Filter models, searchbox$/);
      await retype('gemma');
      await ear.hears(/^1 of 5 models$/);
      await press('ArrowDown');
      await ear.isHere(/^Switch to Gemma 3 270M on llama-server/);
      await press('Enter');
      const heard = await ear.hearsUntil(/is active\.$/);
      assert.deepEqual(heard, switched('Gemma 3 270M', 'llama-server'));
      await close(page);
    });
  });

  describe('running a benchmark', () => {
    it('says what a plan does before it is started, its parts, and what came out', async () => {
      const { page, ear, press, token } = await open('bench');
      await press('7');
      assert.deepEqual(await ear.hearsUntil(/^Benchmarks$/), ['Benchmarks']);
      await ear.tabTo(/^Plan, combobox, collapsed, “Quick”$/);
      await ear.isDescribed(/^Short prompts and answers, one after the other\. Takes about .* Nothing is switched/);
      await page.keyboard.type('Req');
      await ear.isHere(/^Plan, combobox, collapsed, “Requests at a time”$/);
      await ear.isDescribed(/^More and more requests at a time/);
      await ear.tabTo(/^up to, spinbutton, “8”$/, { most: 1 });
      await ear.isDescribed(/^1 to \d+ at a time$/);
      await page.keyboard.press('ControlOrMeta+a');
      await page.keyboard.type('4');
      await ear.tabTo(/^Start benchmark, button$/, { most: 1 });
      await ear.isDescribed(/^More and more requests at a time/);
      simulated.stopsAt(token, ({ bench }) => bench?.concurrency === 2 && bench.last_decode_tok_s !== null);
      await press('Enter');
      await ear.isHere(/^Cancel the benchmark, button$/);
      await page.getByText(/2 at a time · Trial/).waitFor();
      await simulated.held(token, async () => {
        // Seen are each step and the figures; a screen reader finds them where it looks.
        await ear.reads('[data-testid="bench-progress"]', ([step, aside, what, cancel, progress]) => {
          assert.match(step, /^2 at a time · Trial \d of 8$/);
          assert.match(aside, /^· last [\d.]+ tok\/s$/);
          assert.equal(what, 'SmolLM2 135M Instruct on llama-server');
          assert.equal(cancel, 'Cancel the benchmark, button');
          assert.match(progress, /^2 at a time · Trial \d of 8, progressbar/);
        });
      });
      assert.deepEqual(await ear.hearsUntil(/^Measured/), [
        'Warming up',
        '1 at a time',
        '2 at a time',
        '3 at a time',
        '4 at a time',
        'Measured SmolLM2 135M Instruct: 58.0 tok/s, first token 41.4 ms, disturbed.',
      ]);
      await ear.isHere(/^Show the result, link$/);
      await ear.isDescribed(/^Measured SmolLM2 135M Instruct\.$/);
      await close(page);
    });

    it('tells of four parts at most, of the end wherever one is by then, and of a run that another began', async () => {
      const { page, ear, press, token } = await open('elsewhere');
      await press('7');
      await ear.hearsUntil(/^Benchmarks$/);
      await page.getByTestId('bench-plan').focus();
      await page.keyboard.type('St');
      await ear.tabTo(/^Start benchmark, button$/);
      simulated.stopsAt(token, ({ bench }) => bench?.phase === 'measured' && bench.done === 8);
      await press('Enter');
      await page
        .getByTestId('bench-progress')
        .getByText(/^Trial 9 of 10/)
        .waitFor();
      await simulated.held(token, async () => {
        assert.deepEqual(await ear.hearsUntil(/^Trial 9 of 10$/), [
          'Warming up',
          'Trial 1 of 10',
          'Trial 4 of 10',
          'Trial 6 of 10',
          'Trial 9 of 10',
        ]);
        await press('1');
        assert.deepEqual(await ear.hearsUntil(/^Measuring/), ['Now', 'Measuring SmolLM2 135M Instruct.']);
      });
      const heard = await ear.hearsUntil(/^Measured/);
      assert.deepEqual(heard, ['Measured SmolLM2 135M Instruct: 106 tok/s, first token 22.6 ms.']);

      // From the command line, say: this page only watches.
      const another = simulated.engine(token).call({ call: 'bench', trials: 3 });
      assert.deepEqual(await ear.hearsUntil(/^Measured/), [
        'Measuring SmolLM2 135M Instruct.',
        'Measured SmolLM2 135M Instruct: 106 tok/s, first token 22.6 ms.',
      ]);
      await another;
      await close(page);
    });

    it('is cancelled from where the keyboard is, and says so', async () => {
      const { page, ear, press, token } = await open('cancel');
      await press('7');
      await ear.hearsUntil(/^Benchmarks$/);
      await page.getByTestId('bench-start').focus();
      simulated.stopsAt(token, ({ bench }) => bench?.phase === 'measured' && bench.done === 1);
      await press('Enter');
      await ear.isHere(/^Cancel the benchmark, button$/);
      await page
        .getByTestId('bench-progress')
        .getByText(/^Trial 2 of 5/)
        .waitFor();
      await simulated.held(token, () => press('Enter'));
      const heard = await ear.hearsUntil(/cancelled/);
      assert.deepEqual(heard, [
        'Warming up',
        'Trial 1 of 5',
        'The benchmark of SmolLM2 135M Instruct was cancelled. What was measured is kept.',
      ]);
      await ear.isHere(/^Start benchmark, button$/);
      await close(page);
    });

    it('says what it waits for without the figures that change', async () => {
      const { page, ear, press } = await open('quiet', { scene: 'gpus' });
      await press('7');
      await ear.hearsUntil(/^Benchmarks$/);
      await page.getByTestId('bench-start').focus();
      await press('Enter');
      assert.deepEqual(await ear.hearsUntil(/^Waiting/), ['Waiting for a quiet machine: cc1plus']);
      await close(page);
    });

    it('says why it cannot be started', async () => {
      const { page, ear, press } = await open('nothing', { scene: 'empty' });
      await press('7');
      await ear.hearsUntil(/^Benchmarks$/);
      await ear.reads('main form + p', (lines) =>
        assert.deepEqual(lines, ['A benchmark needs a model: switch to one first.']),
      );
      await ear.finds(/^Start benchmark, button, disabled$/);
      await close(page);
    });
  });

  describe('changing a setting', () => {
    async function settings(test) {
      const walk = await open(test);
      await walk.press('0');
      await walk.ear.hearsUntil(/^Settings$/);
      await walk.page.getByTestId('settings-state').waitFor();
      /** Goes to the setting among the few that have these words. */
      const to = async (words, wanted) => {
        await walk.page.getByTestId('settings-search').focus();
        await walk.retype(words);
        await walk.ear.hearsUntil(/^\d settings? found\.$/);
        await walk.ear.tabTo(wanted);
      };
      return { ...walk, to };
    }

    it('says label, unit and meaning; a mistake at its field with two ways out; and what is saved', async () => {
      const { page, ear, press, retype, to } = await settings('number');
      await to('during a switch', /^Longest wait during a switch, textbox, “\d+”$/);
      const meaning = await ear.described();
      assert.match(meaning, /^seconds\. \S.*gateway\.wait_s/);
      await retype('601');
      await press('Enter');
      assert.deepEqual(await ear.hearsUntil(/Allowed/), ['Cannot be 601. Allowed: 1 to 600 s.']);
      await ear.isHere(/^Longest wait during a switch, textbox, invalid, “601”$/);
      await ear.isDescribed(`${meaning} Cannot be 601. Allowed: 1 to 600 s.`);
      await ear.tabTo(/^Use 600 s, button$/, { most: 1 });
      await ear.tabTo(/^Back to 30 s, button$/, { most: 1 });
      await press('Shift+Tab', 'Enter');
      assert.deepEqual(await ear.hearsUntil(/now\.$/), ['Longest wait during a switch is 600 s now.']);
      // The button is gone with what it did.
      await ear.isHere(/^Longest wait during a switch, textbox, “600”$/);
      await ear.isDescribed(meaning);

      // Escape forgets what was not taken, without a word.
      await retype('-1');
      await press('Enter');
      await ear.hearsUntil(/Allowed/);
      await press('Escape');
      await ear.isHere(/^Longest wait during a switch, textbox, “600”$/);
      assert.deepEqual(await ear.heard(), []);
      await close(page);
    });

    it('says a switch and a choice with their state, and each change', async () => {
      const { page, ear, press, to } = await settings('states');
      await to('desktop notifications', /^Desktop notifications, switch, on$/);
      await ear.isDescribed(/^What changed while you looked elsewhere\./);
      await press('Space');
      assert.deepEqual(await ear.hearsUntil(/now\.$/), ['Desktop notifications is Off now.']);
      await ear.isHere(/^Desktop notifications, switch, off$/);
      await to('bars in the icon', /^Bars in the icon, combobox, collapsed, “No gauge”$/);
      await press('ArrowDown');
      assert.deepEqual(await ear.hearsUntil(/now\.$/), ['Bars in the icon is Memory now.']);
      await ear.isHere(/^Bars in the icon, combobox, collapsed, “Memory”$/);
      await ear.tabTo(/^Reset Bars in the icon, button$/, { most: 1 });
      await press('Enter');
      assert.deepEqual(await ear.hearsUntil(/now\.$/), ['Bars in the icon is No gauge now.']);
      await ear.isHere(/^Bars in the icon, combobox, collapsed, “No gauge”$/);
      await close(page);
    });

    it('says what waits for a restart, makes it, and says when it is in force', async () => {
      const { page, ear, press, retype, to } = await settings('restart');
      await to('llama-server at a time', /^Requests at a time, textbox, “1”$/);
      await retype('2');
      await press('Enter');
      assert.deepEqual(await ear.hearsUntil(/restart\.$/), ['Requests at a time is 2 after a restart.']);
      await ear.reads('[data-testid="setting-waits"]', (lines) => {
        assert.equal(lines[0], 'One change waits for a restart of llama-server.');
        assert.match(lines.slice(1, -1).join(' '), /SmolLM2 135M Instruct leaves memory/);
        assert.equal(lines.at(-1), 'Restart llama-server, button');
      });
      await ear.tabTo(/^Restart llama-server, button$/, { back: true });
      await press('Enter');
      const heard = await ear.hearsUntil(/in force\.$/);
      assert.equal(heard.at(-1), 'llama-server has started again. What was set is in force.');
      await ear.isHere(/main$/);
      await close(page);
    });

    it('says that somebody else has changed the file, and that it has a mistake', async () => {
      const { page, ear, retype, press, to, engine } = await settings('outside');
      await to('during a switch', /^Longest wait during a switch, textbox/);
      engine().settings.edit('gateway.wait_s', 45);
      await retype('40');
      await press('Enter');
      const [said] = await ear.hearsUntil(/changed/);
      assert.match(
        said,
        /^The settings file was changed by somebody else meanwhile: gateway\.wait_s is 45 now\. Nothing was written\. Dismiss$/,
      );
      await ear.isHere(/^Longest wait during a switch, textbox, “45”$/);

      engine().settings.mistake = 'settings.toml line 7: “gatway” is not a setting.';
      await page.evaluate(() => dispatchEvent(new Event('focus')));
      const heard = await ear.hearsUntil(/mistake/);
      assert.match(heard.at(-1), /line 7.*nothing can be changed here\. These values hold\./);
      await ear.finds(/^Longest wait during a switch, textbox, disabled, “45”$/);
      await close(page);
    });
  });
});
