import { render, screen, within } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Run } from '../src/api/Run';
import { run, sweepRun } from '../src/backend/fake/bench';
import { filtered, pageOf, pairOf, picked, trends, trendValue } from '../src/bench/history';
import { Store } from '../src/store.svelte';
import History from '../src/views/History.svelte';
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

describe('which runs are shown', () => {
  const runs = [
    run(3, 0, ...OLLAMA, 50, 5),
    { ...run(2, 0, ...OLLAMA, 50), state: 'cut_off' as const },
    sweepRun(1, 0),
  ];
  it.each([
    [{ plan: '', state: '' as const }, [3, 2, 1]],
    [{ plan: 'sweep', state: '' as const }, [1]],
    [{ plan: '', state: 'cut_off' as const }, [2]],
    [{ plan: 'quick', state: 'cut_off' as const }, []],
  ])('%j', (filter, ids) => expect(filtered(runs, filter).map((one) => one.run_id)).toEqual(ids));

  it.each([
    [0, 2, [1, 2], 0],
    [2, 2, [5], 2],
    [9, 2, [5], 2],
    [-1, 2, [1, 2], 0],
    [0, 50, [1, 2, 3, 4, 5], 0],
  ])('page %s of %s each', (page, size, items, here) => {
    expect(pageOf([1, 2, 3, 4, 5], page, size)).toEqual({ items, page: here, pages: size === 2 ? 3 : 1 });
  });

  it('is one empty page where there is none', () => expect(pageOf([], 3)).toEqual({ items: [], page: 0, pages: 1 }));
});

describe('a figure over time', () => {
  it('is one line for each model and server, oldest first, without what has not ended', () => {
    const runs = past(6);
    runs[0] = { ...runs[0]!, state: 'cancelled' };
    const found = trends(runs, 'decode', 6);
    expect(found.map((one) => [one.run.server, one.data[1]])).toEqual([
      ['llama-server', [55, 53, 51]],
      ['ollama', [54, 52]],
    ]);
    expect(found[0]?.data[0]).toEqual([...(found[0]?.data[0] ?? [])].sort((a, b) => a - b));
    expect(trends(runs, 'decode', 1)).toHaveLength(1);
  });

  it('does not draw long and short prompts as one line, nor sweeps, nor what is not known', () => {
    const long = [run(4, 4, ...OLLAMA, 50), run(3, 3, ...OLLAMA, 50)];
    const short = [run(2, 2, ...OLLAMA, 50, 5), run(1, 1, ...OLLAMA, 50, 5)];
    expect(trends([...long, ...short], 'ttft', 6).map((one) => one.twin)).toEqual([true, true]);
    expect(trends(long, 'ttft', 6)[0]?.twin).toBe(false);
    expect(trends([sweepRun(2, 2), sweepRun(1, 1)], 'decode', 6)).toEqual([]);
    expect(trends(long, 'energy', 6)).toEqual([]);
  });

  it('adds what is on cards to what is in memory, and takes no absent figure for none', () => {
    const one = run(1, 0, ...OLLAMA, 50);
    expect(trendValue({ ...one, peak_gpu_memory_bytes: 5e9 }, 'memory')?.median).toBeCloseTo(5.31);
    expect(trendValue({ ...one, peak_memory_bytes: null }, 'memory')).toBeNull();
    expect(trendValue({ ...one, energy_j_per_token: 0.7 }, 'energy')).toEqual({ median: 0.7, low: 0.7, high: 0.7 });
    expect(trendValue(one, 'e2e')?.median).toBeCloseTo(1280);
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
  async function show(runs: Run[]): Promise<ScriptedBackend> {
    const backend = new ScriptedBackend();
    backend.answers.history = (call) => ({
      reply: 'runs',
      runs: runs.filter((one) => call.call !== 'history' || call.server === undefined || one.server === call.server),
    });
    const store = new Store(backend, new TestVisibility());
    store.snapshot = snapshotOf('ready');
    render(History, { context: new Map([['store', store]]) });
    await screen.findByTestId('runs-table');
    return backend;
  }
  const ids = () => screen.getAllByTestId('run-row').map((row) => Number(row.dataset.id));

  it('turns pages, and begins anew when the filter changes', async () => {
    await show(past(120));
    expect(ids()).toHaveLength(50);
    expect(screen.getByTestId('history-shown').textContent).toMatch(/1 – 50 of 120 runs/);
    await userEvent.click(screen.getByRole('button', { name: 'Older' }));
    await userEvent.click(screen.getByRole('button', { name: 'Older' }));
    expect(ids()[0]).toBe(20);
    expect(screen.getByRole('button', { name: 'Older' }).hasAttribute('disabled')).toBe(true);
    await userEvent.selectOptions(screen.getByTestId('history-state'), 'done');
    expect(ids()[0]).toBe(120);
  });

  it('says when there are more than are read', async () => {
    await show(past(1000));
    expect(screen.getByTestId('history-shown').textContent).toMatch(/Only the newest 1000 are read/);
  });

  it('asks the engine for the server, and filters plan and state itself', async () => {
    const backend = await show([...past(4), sweepRun(99, 0)]);
    await userEvent.selectOptions(screen.getByRole('combobox', { name: 'Server' }), 'ollama');
    await expect.poll(() => ids().length).toBe(2);
    expect(backend.of('history').at(-1)).toMatchObject({ server: 'ollama', limit: 1000 });
    await userEvent.selectOptions(screen.getByTestId('history-state'), 'cut_off');
    expect(screen.getByText('No run matches this filter.')).toBeTruthy();
  });

  it('compares two that are picked by checkbox', async () => {
    await show(past(6));
    const bar = screen.getByTestId('picks');
    expect(bar.textContent).toMatch(/Pick two runs/);
    const boxes = screen.getAllByRole('checkbox', { name: /^Pick SmolLM2 135M/ });
    await userEvent.click(boxes[1]!);
    expect(bar.textContent).toMatch(/Pick another/);
    expect(within(bar).queryByTestId('compare')).toBeNull();
    boxes[4]!.focus();
    await userEvent.keyboard(' ');
    expect(within(bar).getByTestId('compare').getAttribute('href')).toBe('#/benchmarks/2-5');
    await userEvent.click(within(bar).getByRole('button', { name: 'Unpick all' }));
    expect(screen.getAllByRole('checkbox').some((box) => (box as HTMLInputElement).checked)).toBe(false);
  });

  it('follows another figure', async () => {
    await show(past(6));
    expect(screen.getAllByTestId('trend')).toHaveLength(2);
    await userEvent.selectOptions(screen.getByTestId('history-metric'), 'ttft');
    expect(screen.getByRole('img', { name: /^First token over time, ms: SmolLM2 135M on Ollama$/ })).toBeTruthy();
    await userEvent.selectOptions(screen.getByTestId('history-metric'), 'energy');
    expect(screen.queryByTestId('trend')).toBeNull();
  });
});
