import { render, screen, waitFor, within } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Call } from '../src/api/Call';
import type { OfferChange } from '../src/api/OfferChange';
import type { Pool } from '../src/api/Pool';
import type { Reply } from '../src/api/Reply';
import type { Snapshot } from '../src/api/Snapshot';
import { FakeBackend } from '../src/backend/fake/backend';
import { fitOf, machineOf, togetherOf } from '../src/backend/fake/memory';
import type { Scene } from '../src/backend/fake/scene-names';
import PoolBar from '../src/components/PoolBar.svelte';
import { excess, partsOf, roomOf, sumOf, wishOf, without } from '../src/memory';
import { Store } from '../src/store.svelte';
import Memory from '../src/views/Memory.svelte';
import MemorySection from '../src/views/MemorySection.svelte';
import { renderWith, ScriptedBackend, snapshotOf, TestVisibility } from './support';

const scenes: Scene[] = ['ready', 'empty', 'trouble', 'gpu', 'mac'];

function ledgerOf(snapshot: Snapshot) {
  if (snapshot.ledger === null) throw new Error('the scene has no ledger');
  return snapshot.ledger;
}

function renderBar(pool: Pool, snapshot: Snapshot, more: { forecast?: number } = {}) {
  const ledger = ledgerOf(snapshot);
  render(PoolBar, {
    props: {
      pool,
      room: roomOf(ledger, pool),
      servers: snapshot.servers,
      ceiling: ledger.ceiling.source,
      legend: 'table',
      ...more,
    },
  });
}

const segments = () => within(screen.getByRole('toolbar')).getAllByRole('button');
const widths = () => segments().map((segment) => Number(segment.style.flexGrow));
const detail = () => screen.getByTestId('pool-detail').textContent?.replace(/\s+/g, ' ').trim();

/** The Memory page on an engine that answers as the simulated one does, or as the test says. */
function renderPage(snapshot: Snapshot, model: string | null = null, scene: Scene = 'ready') {
  const backend = new ScriptedBackend();
  backend.answers.machine = () => ({ reply: 'machine', machine: machineOf(scene) });
  backend.answers.fit = (call) => ({
    reply: 'fit',
    report: fitOf(call as Extract<Call, { call: 'fit' }>, scene, snapshot),
  });
  backend.answers.fit_together = () => ({ reply: 'together', together: togetherOf(snapshot, scene) });
  const store = new Store(backend, new TestVisibility());
  store.snapshot = snapshot;
  render(Memory, { props: { model }, context: new Map([['store', store]]) });
  return { store, backend };
}

describe('the parts of a pool', () => {
  it.each(scenes)('add up to the whole: %s', (scene) => {
    const ledger = ledgerOf(snapshotOf(scene));
    for (const pool of ledger.pools)
      for (const forecast of [0, 3e9, 900e9]) {
        const parts = partsOf(pool, roomOf(ledger, pool), forecast);
        expect(parts.reduce((sum, part) => sum + part.bytes, 0)).toBe(pool.total_bytes);
        expect(new Set(parts.map((part) => part.key)).size).toBe(parts.length);
      }
  });

  it('name what lies beyond the ceiling, and only where there is something', () => {
    const kinds = (scene: Scene) => {
      const ledger = ledgerOf(snapshotOf(scene));
      const pool = ledger.pools[0] as Pool;
      // Little is in use: the ceiling of the GPU is reached before the end of the memory.
      const idle = { ...pool, tenants: [], used_bytes: 0, free_bytes: pool.total_bytes };
      return partsOf(idle, { headroom: 29e9, reserve: 1e9 }).map((part) => part.kind);
    };
    expect(kinds('mac')).toEqual(['free', 'reserve', 'beyond']);
    expect(kinds('ready')).toEqual(['free']);
  });

  it('give back what the models in question hold', () => {
    const ledger = ledgerOf(snapshotOf('ready'));
    const pool = ledger.pools[0] as Pool;
    const less = without(pool, [{ server: 'ollama', model: 'smollm2:135m' }]);
    expect(less.tenants).toHaveLength(pool.tenants.length - 2);
    expect(less.used_bytes + less.free_bytes).toBe(pool.total_bytes);
  });

  it.each(scenes)('the sum is written so that it adds up: %s', (scene) => {
    const { ceiling, inUse, reserve, left } = sumOf(ledgerOf(snapshotOf(scene)));
    expect(inUse + reserve + left).toBe(ceiling);
  });

  it('only offers that are about a setting change one', () => {
    const of = (change: OfferChange) => wishOf({ what: '', change, needed_bytes: 1, cost: '' });
    expect(of({ kind: 'context', context: 8192 })).toEqual({ context: 8192 });
    expect(of({ kind: 'kv', kv: 'q8_0' })).toEqual({ kv: 'q8_0' });
    expect(of({ kind: 'parallel', parallel: 1 })).toEqual({ parallel: 1 });
    expect(of({ kind: 'unload', model: { server: 'ollama', model: 'qwen' } })).toBeNull();
    expect(of({ kind: 'quantization', model: 'Qwen', quantization: 'Q3_K_M' })).toBeNull();
  });

  it('say by how much a model exceeds what is free', () => {
    const snapshot = snapshotOf();
    const model = snapshot.models.find((one) => one.name === 'qwen2.5:72b');
    if (!model) throw new Error('no such model');
    expect(excess(model, snapshot.ledger)).toBe(50.5e9 - ledgerOf(snapshot).headroom_bytes);
    expect(excess(model, null)).toBeNull();
  });
});

describe('the bar', () => {
  it.each(scenes)('fills its width: %s', (scene) => {
    const snapshot = snapshotOf(scene);
    renderBar(ledgerOf(snapshot).pools[0] as Pool, snapshot);
    expect(widths().reduce((sum, width) => sum + width, 0)).toBeCloseTo(100, 3);
  });

  it('shows where a number comes from on click, and takes it back', async () => {
    const snapshot = snapshotOf('gpu');
    renderBar(ledgerOf(snapshot).pools[0] as Pool, snapshot);
    const part = within(screen.getByRole('toolbar')).getByRole('button', { name: /^SmolLM2 135M Instruct · on/ });
    await userEvent.click(part);
    expect(part.getAttribute('aria-pressed')).toBe('true');
    expect(detail()).toMatch(
      /^SmolLM2 135M Instruct on llama-server · 138\sMB, 1.1\s% of 12.9\sGB reported by the server: /,
    );
    await userEvent.click(part);
    expect(part.getAttribute('aria-pressed')).toBe('false');
    expect(detail()).toBe('Choose a part to see where its number comes from.');
  });

  it('is one stop of the Tab key, walked with the arrows and chosen with Enter', async () => {
    const snapshot = snapshotOf();
    renderBar(ledgerOf(snapshot).pools[0] as Pool, snapshot);
    expect(segments().filter((segment) => segment.tabIndex === 0)).toHaveLength(1);
    await userEvent.tab();
    expect(document.activeElement).toBe(segments()[0]);
    await userEvent.keyboard('{End}{ArrowLeft}{Enter}');
    expect(detail()).toMatch(/^Free for models .* the ceiling less what is in use and the reserve$/);
    expect(segments().filter((segment) => segment.tabIndex === 0)).toEqual([document.activeElement]);
  });

  it('has a table with every part, its size and its source', async () => {
    const snapshot = snapshotOf();
    const pool = ledgerOf(snapshot).pools[0] as Pool;
    renderBar(pool, snapshot);
    const rows = within(screen.getByRole('table')).getAllByRole('row');
    expect(rows).toHaveLength(1 + pool.tenants.length + 2 + 1);
    const row = within(screen.getByRole('table')).getByRole('button', { name: /^Pilothouse/ });
    await userEvent.click(row);
    expect(detail()).toMatch(/^Pilothouse · 42.0\sMB, 0.3\s% of 16.8\sGB measured: proportional set size$/);
  });
});

describe('the memory section', () => {
  it('says in words what is free', () => {
    const snapshot = snapshotOf('gpu');
    renderWith(MemorySection, snapshot);
    expect(screen.getByTestId('memory-section').textContent).toMatch(/RTX 4070 · 6.73\sGB free for models/);
    expect(screen.getByRole('link', { name: 'What fits' }).getAttribute('href')).toBe('#/memory');
  });

  it('says that nothing was read yet', () => {
    renderWith(MemorySection, snapshotOf('ready', { ledger: null }));
    expect(screen.getByText(/has not been read yet/)).toBeTruthy();
    expect(screen.queryByRole('toolbar')).toBeNull();
  });
});

describe('the memory page', () => {
  it('shows a bar for every pool, what is not in the figures, and the machine', async () => {
    const snapshot = snapshotOf('gpu');
    ledgerOf(snapshot).unknown.push('Gemma on Ollama: nobody tells its memory');
    renderPage(snapshot, null, 'gpu');
    expect(screen.getAllByRole('toolbar')).toHaveLength(2);
    expect(screen.getByText(/nobody tells its memory/)).toBeTruthy();
    expect((await screen.findByText('RTX 4070', { selector: 'dd' })).textContent).toMatch(
      /12.9\sGB of its own · 504\sGB\/s · compute capability 8.9 · driver 570/,
    );
  });

  it('says what a machine does not tell, with the reason', async () => {
    renderPage(snapshotOf());
    const machine = screen.getByTestId('machine');
    await within(machine).findByText('Example CPU');
    expect(
      within(machine)
        .getAllByText('not reported')
        .map((one) => one.title),
    ).toContain('the speed of the memory modules is told only to the administrator');
    expect(within(machine).queryByText('Neural Engine')).toBeNull();
  });

  it('stands without ledger and models', () => {
    renderPage(snapshotOf('ready', { ledger: null, models: [] }));
    expect(screen.getByText(/has not been read yet/)).toBeTruthy();
    expect(screen.getByText(/A typical size can be asked about/)).toBeTruthy();
    expect(screen.getByTestId('fit-answer').textContent).toMatch(/No model is chosen/);
  });
});

describe('what if', () => {
  it('reckons with the chosen models as their server loads them, until a slider is moved', async () => {
    const snapshot = snapshotOf();
    ledgerOf(snapshot).in_use_bytes = 9e9;
    const { backend } = renderPage(snapshot);
    await userEvent.click(screen.getByRole('checkbox', { name: /Llama 3.1 8B/ }));
    expect((await screen.findByTestId('fit-verdict')).dataset.verdict).toBe('tight');
    expect(screen.getByTestId('fit-arithmetic').textContent).toMatch(
      /^needs about 5.41\sGB · 6.73\sGB free → 1.31\sGB left$/,
    );
    expect(backend.of('fit')).toEqual([{ call: 'fit', models: ['ollama/llama3.1:8b'] }]);
    await userEvent.click(screen.getByRole('radio', { name: 'q8_0' }));
    await waitFor(() => expect(backend.of('fit')).toHaveLength(2));
    expect(backend.of('fit')[1]).toEqual({ call: 'fit', models: ['ollama/llama3.1:8b'], kv: 'q8_0' });
    await userEvent.click(screen.getByRole('button', { name: 'As its server loads it' }));
    await waitFor(() => expect(backend.of('fit')).toHaveLength(3));
  });

  it('the last question wins, however late the earlier answer comes', async () => {
    const snapshot = snapshotOf('ready', { models: [] });
    const { backend } = renderPage(snapshot);
    const answers = new Map<string, (reply: Reply) => void>();
    backend.answers.fit = (call) =>
      new Promise((resolve) => answers.set((call as Extract<Call, { call: 'fit' }>).models.join(), resolve));
    const reply = (model: string): Reply => ({
      reply: 'fit',
      report: fitOf({ call: 'fit', models: [model] }, 'ready', snapshot),
    });
    const field = screen.getByTestId('what-if-sizes');
    await userEvent.type(field, '30b');
    await waitFor(() => expect(answers.has('30b')).toBe(true));
    await userEvent.clear(field);
    await userEvent.type(field, '3b');
    await waitFor(() => expect(answers.has('3b')).toBe(true));
    answers.get('3b')?.(reply('3b'));
    expect((await screen.findByTestId('fit-verdict')).dataset.verdict).toBe('fits');
    answers.get('30b')?.(reply('30b'));
    await Promise.resolve();
    await waitFor(() => expect(screen.getByTestId('fit-verdict').dataset.verdict).toBe('fits'));
  });

  it('begins with the model of the address, says that it does not fit, and an offer moves its slider', async () => {
    const { backend } = renderPage(snapshotOf('mac'), 'ollama/llama3.1:8b', 'mac');
    await screen.findByTestId('fit-verdict');
    expect((screen.getByRole('checkbox', { name: /Llama 3.1 8B/ }) as HTMLInputElement).checked).toBe(true);
    await userEvent.type(screen.getByTestId('what-if-sizes'), '13b');
    const slider = screen.getByRole('slider', { name: 'Context' }) as HTMLInputElement;
    slider.value = '6';
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    await waitFor(() => expect(screen.getByTestId('fit-verdict').dataset.verdict).toBe('does_not_fit'));
    expect(screen.getByTestId('fit-arithmetic').textContent).toMatch(/more than is free$/);
    const offers = within(screen.getByTestId('fit-offers'));
    const offer = offers.getByRole('button', { name: /^context/ });
    expect(offers.getByText(/are cut or refused/)).toBeTruthy();
    const tokens = Number(offer.textContent?.replace('context ', ''));
    await userEvent.click(offer);
    await waitFor(() => expect(screen.getByTestId('fit-verdict').dataset.verdict).not.toBe('does_not_fit'));
    expect(slider.getAttribute('aria-valuetext')).toBe(`${tokens} tokens`);
    expect(backend.of('fit').at(-1)).toMatchObject({ context: tokens, models: ['ollama/llama3.1:8b', '13b'] });
    expect(screen.getByTestId('fit-forecast').textContent).toMatch(
      /Forecast, not measured:\s+about \d.*\stok\/s\s±5\s%\s·\sprompts at about .*±20\s%.*from bandwidth/,
    );
  });

  it('tells what was measured as measured, and what a load would push out', async () => {
    const { backend } = renderPage(snapshotOf('gpu'), 'ollama/llama3.1:8b', 'gpu');
    await screen.findByTestId('fit-verdict');
    const reckoned = screen.getByTestId('fit-forecast').textContent;
    expect(reckoned).toMatch(/prompts: not known, the computing speed/);
    expect(screen.queryByTestId('fit-evicts')).toBeNull();
    const told = backend.of('fit').at(-1);
    if (told === undefined) throw new Error('nothing was asked');
    const report = fitOf(told, 'gpu', snapshotOf('gpu'));
    backend.answers.fit = () => ({
      reply: 'fit',
      report: {
        ...report,
        evicts: [{ server: 'ollama', model: 'qwen', title: 'Qwen 7B', bytes: 5.1e9 }],
        forecast: {
          decode_tok_s: 110,
          error_percent: 4,
          prefill_tok_s: 1100,
          prefill_error_percent: 6,
          measured: true,
          source: 'the median of 3 benchmark runs here',
        },
      },
    });
    await userEvent.type(screen.getByTestId('what-if-sizes'), '7b');
    await waitFor(() =>
      expect(screen.getByTestId('fit-evicts').textContent).toMatch(/push out: Qwen 7B \(5.10?\sGB\)/),
    );
    expect(screen.getByTestId('fit-forecast').textContent).toMatch(
      /Measured here:\s+110\stok\/s\s±4\s%\s·\sprompts at 1,?100\stok\/s\s±6\s%.*from the median of 3/,
    );
    expect(screen.getByTestId('fit-forecast').querySelector('.guess')).toBeNull();
  });

  it('says what an unknown name may be', async () => {
    const { backend } = renderPage(snapshotOf());
    backend.answers.fit = () => ({
      code: 'not_found',
      message: 'No server has a model x.',
      hint: 'Ask for 7b.',
      retry: false,
    });
    await userEvent.type(screen.getByTestId('what-if-sizes'), 'x');
    expect((await screen.findByRole('alert')).textContent).toMatch(/Not found.*no server has a model x.*Ask for 7b/is);
  });

  it('lists what fits together, and what fits not even alone', async () => {
    renderPage(snapshotOf());
    await userEvent.click(screen.getByTestId('fit-together'));
    const sets = within(await screen.findByTestId('together-sets')).getAllByRole('row');
    expect(sets.length).toBeGreaterThan(1);
    expect(sets[1]?.textContent).toMatch(/Llama 3.1 8B Instruct \(Ollama\)/);
    expect(screen.getByText(/Too large even alone/).parentElement?.textContent).toMatch(
      /Qwen2.5 72B Instruct \(Ollama\)/,
    );
  });
});

it('the simulated engine keeps its ledger with its gauges', async () => {
  const fake = new FakeBackend('gpu', 1);
  const reply = await fake.call({ call: 'snapshot' });
  if (reply.reply !== 'snapshot' || !reply.snapshot.ledger) throw new Error('no ledger');
  expect(reply.snapshot.ledger.at).toBe(reply.snapshot.gauges?.at);
});
