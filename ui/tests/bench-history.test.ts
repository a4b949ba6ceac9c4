import { fireEvent, render, screen, waitFor, within } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { afterEach, describe, expect, it } from 'vitest';
import type { Run } from '../src/api/Run';
import { run, sweepRun } from '../src/backend/fake/bench';
import { FakeBackend } from '../src/backend/fake/backend';
import { trendsOf } from '../src/backend/fake/trends';
import {
  columnsOf,
  drawn,
  filterOf,
  hasTwin,
  marksOf,
  pagesOf,
  pairOf,
  picked,
  queryOf,
  viewOf,
} from '../src/bench/history';
import { Store } from '../src/store.svelte';
import HistoryHost from './HistoryHost.svelte';
import { ScriptedBackend, snapshotOf, TestVisibility } from './support';

const HOUR = 3_600_000;
const OLLAMA = ['ollama', 'smollm2:135m'] as const;
const LLAMA = ['llama-server', 'SmolLM2-135M-Instruct.Q4_1'] as const;

/** So many runs, the newest first, in turns of two servers. */
function past(n: number): Run[] {
  return Array.from({ length: n }, (_, index) => {
    const [server, model] = index % 2 === 0 ? OLLAMA : LLAMA;
    return run(n - index, Date.parse('2026-11-28T12:00:00Z') - index * HOUR, server, model, 50 + index, 10);
  });
}

describe('the address of the page', () => {
  const usual = viewOf({});
  it.each([
    [{}, {}],
    [{ model: 'gemma' }, { model: 'gemma' }],
    [
      { server: 'ollama', plan: 'quick', state: 'cut_off' as const },
      { server: 'ollama', plan: 'quick', state: 'cut_off' },
    ],
    [{ page: 2 }, { page: '3' }],
    [
      { metric: 'ttft_ms' as const, picks: [5, 7] },
      { figure: 'ttft_ms', picks: '5,7' },
    ],
  ])('of %j', (change, query) => {
    expect(queryOf({ ...usual, ...change })).toEqual(query);
    expect(viewOf(query)).toEqual({ ...usual, ...change });
  });

  it.each([
    [{ page: '0' }, {}],
    [{ page: '-3' }, {}],
    [{ page: 'x' }, {}],
    [{ page: '2.5' }, {}],
    [{ state: 'perfect' }, {}],
    [{ figure: 'colour' }, {}],
    [{ picks: 'a,-1,3,4,5' }, { picks: [3, 4] }],
    [{ picks: '' }, {}],
  ])('that means nothing: %j', (query, view) => expect(viewOf(query)).toEqual({ ...usual, ...view }));

  it('is what the engine is asked for', () => {
    const days = filterOf(viewOf({ from: '2026-03-28', to: '2026-03-29' }));
    expect(days.since_ms).toBe(new Date(2026, 2, 28).getTime());
    expect(days.until_ms, 'the last day is in it, also one of 23 hours').toBe(new Date(2026, 2, 30).getTime());
    for (const day of ['', 'yesterday', '2026-3-1', '2026-13-40', '28.03.2026'])
      expect(filterOf(viewOf({ from: day }))).toEqual({ limit: 50 });
    expect(filterOf(usual)).toEqual({ limit: 50 });
    expect(filterOf(viewOf({ model: ' a ', page: '3', plan: 'ab', state: 'done', server: 's' }))).toEqual({
      limit: 50,
      offset: 100,
      model: 'a',
      plan: 'ab',
      state: 'done',
      server: 's',
    });
    expect([0, 1, 50, 51, 1000].map(pagesOf)).toEqual([1, 1, 1, 2, 20]);
  });
});

describe('a figure over time', () => {
  it('is drawn of those with most points first, and not of a lone one', () => {
    const [long, short] = [past(7), [run(1, 0, 'lmstudio', 'm', 50)]];
    const lines = drawn(trendsOf([...long, ...short]), 6);
    expect(lines.map((line) => [line.server, line.points.length])).toEqual([
      ['ollama', 4],
      ['llama-server', 3],
    ]);
    const data = columnsOf(lines[0]!);
    expect(data[0]).toEqual([...data[0]].sort((a, b) => a - b));
    expect(drawn(trendsOf(long), 1)).toHaveLength(1);
  });

  it('tells memory in GB, and the plan where a model has two lines', () => {
    const trend = trendsOf(past(4), 'memory_bytes')[0]!;
    expect(columnsOf(trend)[1]).toEqual([0.31, 0.31]);
    expect(hasTwin(trend, [trend])).toBe(false);
    expect(hasTwin(trend, [trend, { ...trend, plan: 'quick' }])).toBe(true);
  });

  it('marks a change of level with its words', () => {
    const marks = marksOf(trendsOf(past(8))[0]!);
    expect(marks).toMatchObject([{ tone: 'attention', words: expect.stringMatching(/server version b10068/) }]);
  });
});

describe('picking two', () => {
  it.each([
    [[], 1, [1]],
    [[1], 2, [1, 2]],
    [[1, 2], 1, [2]],
    [[1, 2], 3, [2, 3]],
  ])('%j and %s: %j', (before, id, after) => expect(picked(before, id)).toEqual(after));

  it('holds the later against the earlier, whichever was picked first', () => {
    const runs = past(4);
    expect(pairOf([4, 1], runs)?.map((one) => one.run_id)).toEqual([1, 4]);
    expect(pairOf([1, 4], runs)?.map((one) => one.run_id)).toEqual([1, 4]);
    expect(pairOf([1], runs)).toBeNull();
    expect(pairOf([1, 99], runs)).toBeNull();
  });
});

describe('the page History', () => {
  afterEach(() => (location.hash = ''));

  async function show(runs: Run[], address = '#/history'): Promise<ScriptedBackend> {
    const backend = new ScriptedBackend();
    const fake = new FakeBackend('ready', 0);
    backend.answers.history = (call) => {
      if (call.call !== 'history') throw new Error('another call');
      const found = runs.filter(
        (one) =>
          (call.server === undefined || one.server === call.server) &&
          (call.state === undefined || one.state === call.state),
      );
      const from = call.offset ?? 0;
      return { reply: 'runs', runs: found.slice(from, from + (call.limit ?? 50)), total: found.length };
    };
    backend.answers.trends = (call) => ({
      reply: 'trends',
      trends: call.call === 'trends' && call.metric !== undefined ? trendsOf(runs, call.metric) : [],
    });
    backend.answers.run = async (call) => {
      const found = call.call === 'run' ? runs.find((one) => one.run_id === call.run_id) : undefined;
      if (found === undefined) throw { code: 'not_found', message: 'There is no such run.', hint: null, retry: false };
      return { reply: 'run', detail: { run: found, trials: [], trace: null, cards: null } };
    };
    backend.answers.history_size = () => fake.call({ call: 'history_size' });
    const store = new Store(backend, new TestVisibility());
    store.snapshot = snapshotOf('ready');
    location.hash = address;
    render(HistoryHost, { context: new Map([['store', store]]) });
    await screen.findByTestId('runs-table');
    return backend;
  }
  const ids = () => screen.getAllByTestId('run-row').map((row) => Number(row.dataset.id));

  it('turns pages, and begins anew when the filter changes', async () => {
    await show(past(120));
    expect(ids()).toHaveLength(50);
    expect(screen.getByTestId('history-shown').textContent).toMatch(/1 – 50 of 120 runs/);
    await userEvent.click(screen.getByRole('button', { name: 'Older' }));
    await expect.poll(() => ids()[0]).toBe(70);
    await userEvent.click(screen.getByRole('button', { name: 'Older' }));
    await expect.poll(() => ids()[0]).toBe(20);
    expect(location.hash).toBe('#/history?page=3');
    expect(screen.getByRole('button', { name: 'Older' }).hasAttribute('disabled')).toBe(true);
    await userEvent.selectOptions(screen.getByTestId('history-state'), 'done');
    await expect.poll(() => ids()[0]).toBe(120);
    expect(location.hash).toBe('#/history?state=done');
  });

  it('shows what its address says, and can be left and come back to', async () => {
    const backend = await show(past(120), '#/history?server=ollama&page=2&figure=ttft_ms&picks=120,1');
    expect(backend.of('history').at(-1)).toMatchObject({ server: 'ollama', offset: 50 });
    expect(ids()[0]).toBe(20);
    expect((screen.getByTestId('history-metric') as HTMLSelectElement).value).toBe('ttft_ms');
    const bar = screen.getByTestId('picks');
    const compare = await within(bar).findByTestId('compare');
    expect(compare.getAttribute('href')).toBe('#/benchmarks/1-120');
    location.hash = '#/history';
    await expect.poll(() => ids()[0]).toBe(120);
    expect((screen.getByTestId('history-metric') as HTMLSelectElement).value).toBe('decode_tok_s');
  });

  it('says that a page is beyond the last', async () => {
    await show(past(60), '#/history?page=9');
    await expect.poll(() => screen.getByTestId('history-shown').textContent).toMatch(/no such page: 60 runs match/);
    await userEvent.click(screen.getByRole('button', { name: 'Newer' }));
    await expect.poll(() => location.hash).toBe('#/history?page=2');
  });

  it('lets go of a picked run that is no more', async () => {
    await show(past(3), '#/history?picks=2,77');
    await expect.poll(() => location.hash).toBe('#/history?picks=2');
  });

  it('asks the engine for each filter', async () => {
    const backend = await show([...past(4), sweepRun(99, 0)]);
    await userEvent.selectOptions(screen.getByRole('combobox', { name: 'Server' }), 'ollama');
    await expect.poll(() => ids().length).toBe(2);
    expect(backend.of('history').at(-1)).toMatchObject({ server: 'ollama', limit: 50 });
    await userEvent.selectOptions(screen.getByTestId('history-state'), 'cut_off');
    expect(await screen.findByText('No run matches this filter.')).toBeTruthy();
    expect(backend.of('history').at(-1)).toMatchObject({ server: 'ollama', state: 'cut_off' });
  });

  it('compares two that are picked by checkbox', async () => {
    await show(past(6));
    const bar = screen.getByTestId('picks');
    expect(bar.textContent).toMatch(/Pick two runs/);
    const boxes = screen.getAllByRole('checkbox', { name: /^Pick SmolLM2 135M/ });
    await userEvent.click(boxes[1]!);
    await expect.poll(() => bar.textContent).toMatch(/Pick another/);
    expect(within(bar).queryByTestId('compare')).toBeNull();
    boxes[4]!.focus();
    await userEvent.keyboard(' ');
    const compare = await within(bar).findByTestId('compare');
    expect(compare.getAttribute('href')).toBe('#/benchmarks/2-5');
    await userEvent.click(within(bar).getByRole('button', { name: 'Unpick all' }));
    await expect
      .poll(() => screen.getAllByRole('checkbox').some((box) => (box as HTMLInputElement).checked))
      .toBe(false);
  });

  it('follows another figure', async () => {
    await show(past(6));
    expect(await screen.findAllByTestId('trend')).toHaveLength(2);
    await userEvent.selectOptions(screen.getByTestId('history-metric'), 'ttft_ms');
    expect(
      await screen.findByRole('slider', { name: /^First token over time, ms: SmolLM2 135M on Ollama$/ }),
    ).toBeTruthy();
    await userEvent.selectOptions(screen.getByTestId('history-metric'), 'energy_j_per_token');
    await expect.poll(() => screen.queryByTestId('trend')).toBeNull();
  });

  it('says by keyboard what changed with a level', async () => {
    await show(past(8));
    const said = (await screen.findAllByTestId('change-said'))[0]!;
    expect(said.textContent).toMatch(/One change of level:\s+run \d/);
    const mark = (await screen.findAllByTestId('change-point'))[0]!;
    mark.focus();
    await expect.poll(() => said.textContent).toMatch(/9 % worse; with it came server version b10068/);
    mark.blur();
    await expect.poll(() => said.textContent).toMatch(/One change of level/);
  });

  it('says what the history takes once that is opened', async () => {
    const backend = await show(past(3));
    expect(backend.of('history_size')).toHaveLength(0);
    await userEvent.click(screen.getByText('What the history takes'));
    const table = (await screen.findByText('Samples of the gauges')).closest('table')!;
    const rows = [...table.rows].map((row) => row.textContent ?? '');
    expect(rows.find((row) => row.startsWith('Samples'))).toMatch(/900.*30 days.*300, about/);
    expect(rows.find((row) => row.startsWith('Runs'))).toMatch(/for ever/);
  });

  it('says how many plots it shows of how many, shows all, and names what has no line yet', async () => {
    const fake = new FakeBackend('many', 0);
    const store = new Store(fake, new TestVisibility());
    store.snapshot = snapshotOf('many');
    render(HistoryHost, { context: new Map([['store', store]]) });
    const said = await screen.findByTestId('plots-of');
    const [, shown, all] = /^(\d+) of (\d+) plots/.exec(said.textContent ?? '') ?? [];
    expect(shown).toBe('6');
    expect(screen.getAllByTestId('trend')).toHaveLength(6);
    await userEvent.click(screen.getByTestId('all-plots'));
    expect(screen.getAllByTestId('trend')).toHaveLength(Number(all));
    expect(screen.getByText(/Measured once so far, so without a line/)).toBeTruthy();
  });

  it('shows the days that are chosen, in the address too', async () => {
    const day = 86_400_000;
    const now = new Date(2026, 10, 29, 12).getTime();
    const all = [0, 1, 2, 3].map((back) => run(9 - back, now - back * day, 'ollama', 'smollm2:135m', 60));
    const backend = await show(all, '#/history?from=2026-11-27&to=2026-11-28');
    const asked = backend.of('history').at(-1);
    expect([asked?.since_ms, asked?.until_ms]).toEqual([
      new Date(2026, 10, 27).getTime(),
      new Date(2026, 10, 29).getTime(),
    ]);
    expect((screen.getByTestId('history-from') as HTMLInputElement).value).toBe('2026-11-27');
    await fireEvent.change(screen.getByTestId('history-to'), { target: { value: '' } });
    await waitFor(() => expect(location.hash).toBe('#/history?from=2026-11-27'));
  });

  it('walks the points of a plot by keyboard, says each, and leads to its run', async () => {
    await show(past(6));
    const plot = (await screen.findAllByTestId('plot-cursor'))[0]!;
    plot.focus();
    await userEvent.keyboard('{Home}');
    const first = plot.getAttribute('aria-valuetext');
    expect(first).toMatch(/^\d+ Nov \d\d:\d\d: [\d.]+ tok\/s, [\d.]+ to [\d.]+, run \d+$|^(today|yesterday)/);
    await userEvent.keyboard('{ArrowRight}');
    const second = plot.getAttribute('aria-valuetext');
    expect(second).not.toBe(first);
    await userEvent.keyboard('{Enter}');
    expect(location.hash).toBe(`#/benchmarks/${/run (\d+)$/.exec(second ?? '')?.[1]}`);
  });
});
