import { render, screen } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import type { Component } from 'svelte';
import { describe, expect, it, vi } from 'vitest';
import type { ApiError } from '../src/api/ApiError';
import type { Copies } from '../src/api/Copies';
import type { Loads } from '../src/api/Loads';
import type { ParallelReport } from '../src/api/ParallelReport';
import type { Reply } from '../src/api/Reply';
import type { Summary } from '../src/api/Summary';
import { run, sweepRun } from '../src/backend/fake/bench';
import { ParallelChange } from '../src/bench/parallel.svelte';
import { againCall, callOf, copiesTo, estimate, lastOf, type Choice } from '../src/bench/plans';
import { Store } from '../src/store.svelte';
import CopiesTable from '../src/views/CopiesTable.svelte';
import LoadsTable from '../src/views/LoadsTable.svelte';
import UseParallel from '../src/views/UseParallel.svelte';
import { ScriptedBackend, snapshotOf, TestVisibility } from './support';

const plain = (text: string | null | undefined) => text?.replaceAll(/\s+/g, ' ').trim();
const summary = (median: number): Summary => ({
  ...run(1, 0, 'ollama', 'x', 64, 10).decode_tok_s!,
  median,
  low: median * 0.9,
  high: median * 1.1,
  n: 5,
  interval: 'range',
});

const LOADS: Loads = {
  trials: [
    { from: 'page_cache', cached_share: 1, load_s: 2, ttft_cold_ms: 400, ttft_warm_ms: 100, flaw: null },
    { from: 'page_cache', cached_share: 0.4, load_s: 9, ttft_cold_ms: 400, ttft_warm_ms: 100, flaw: 'only 40 %' },
  ],
  kinds: [
    {
      from: 'page_cache',
      loads: 1,
      load_s: summary(2),
      ttft_cold_ms: summary(400),
      ttft_warm_ms: summary(100),
      bytes_s: 2.5e9,
    },
  ],
  size_bytes: 5e9,
  disk_absent: 'The system does not let go of the file in its page cache.',
};

const COPIES: Copies = {
  points: [
    {
      copies: 1,
      requests: 5,
      failed: 0,
      out_tok_s: 60,
      decode_tok_s: 62,
      ttft_ms: { median: 100, p95: 120, low: 110, high: 130, n: 5, interval: 'range' },
      memory_bytes: 1e9,
    },
    { copies: 2, requests: 9, failed: 1, out_tok_s: 110, decode_tok_s: 55, ttft_ms: null, memory_bytes: null },
  ],
  stopped: '4 copies do not fit: no memory.',
};

describe('plans that take models out of memory and put them in', () => {
  const quick = () => ({ ...run(1, 0, 'ollama', 'x', 64, 10), ttft_ms: summary(100), decode_tok_s: summary(64) });

  it('say how long they take from a run of the same kind, or not at all', () => {
    expect(estimate('load', quick(), null, 8)).toBeNull();
    const loaded = { ...quick(), loads: LOADS };
    // Five loads of 2 s, each with two requests of 100 ms and 16 tokens at 64 tok/s.
    const request = (0.1 * 64) / Math.max(1, loaded.plan.prompt_words) + 16 / 64;
    expect(estimate('load', loaded, null, 8)?.high).toBeCloseTo(5 * (2 + 2 * request));
    const found = estimate('copies', quick(), null, 4);
    expect(found!.low).toBeLessThan(found!.high);
  });

  it('are found in the history by their own kind', () => {
    const loads = { ...quick(), run_id: 2, loads: LOADS };
    const copies = { ...quick(), run_id: 3, copies: COPIES };
    const runs = [copies, loads, quick()];
    expect(lastOf(runs, 'ollama', 'x', 'load')?.run_id).toBe(2);
    expect(lastOf(runs, 'ollama', 'x', 'quick')?.run_id).toBe(1);
    expect(lastOf([copies, loads], 'ollama', 'x', 'quick')).toBeNull();
  });

  it('ask for as many copies as were chosen', () => {
    expect([1, 2, 3, 50].map(copiesTo)).toEqual([[1], [1, 2], [1, 2, 3], [1, 2, 4, 8, 16, 32, 50]]);
    const choice: Choice = {
      model: '',
      server: null,
      plan: 'copies',
      other: '',
      otherServer: null,
      upTo: 10,
      rate: 1,
      seconds: 60,
      turns: 6,
      prompts: null,
      whenDisturbed: 'mark',
    };
    expect(callOf(choice)).toMatchObject({ plan: 'copies', up_to: 10 });
    for (const upTo of [0, 65, 1.5]) expect(callOf({ ...choice, upTo })).toBeNull();
    expect(callOf({ ...choice, plan: 'load' })).not.toHaveProperty('up_to');
    const past = quick();
    past.plan = { ...past.plan, name: 'copies', concurrency: [1, 2, 4, 10] };
    expect(againCall(past, null)).toMatchObject({ plan: 'copies', up_to: 10 });
  });
});

function show<P extends Record<string, unknown>>(component: Component<P>, props: P, backend = new ScriptedBackend()) {
  const store = new Store(backend, new TestVisibility());
  store.snapshot = snapshotOf('gpu');
  render(component, { props, context: new Map([['store', store]]) } as never);
  return store;
}

/** The texts of a row, its head first. */
const cells = (row: number) => [...screen.getAllByRole('row')[row]!.children].map((cell) => plain(cell.textContent));

describe('their results', () => {
  it('are a table of loads by where the weights came from, with what does not count and why', () => {
    show(LoadsTable, { loads: LOADS });
    expect(cells(1)).toEqual([
      'From the page cache',
      '1',
      '2.00 (1.80 – 2.20)',
      '400 (360 – 440)',
      '100 (90.0 – 110)',
      '2.50',
    ]);
    expect(screen.getByText(/Not measured from disk: The system does not let go/)).toBeTruthy();
    expect(screen.getByText('Load 2 does not count: only 40 %.')).toBeTruthy();
  });

  it('are a table of copies, and why there are no more of them', () => {
    show(CopiesTable, { copies: COPIES });
    expect(cells(2)).toEqual(['2', '110', '55.0', '–', '–', '–', '9, 1 failed']);
    expect(plain(screen.getByTestId('copies-stopped').textContent)).toContain('4 copies do not fit');
  });
});

const report = (change: Partial<ParallelReport> = {}): ParallelReport => ({
  server: 'llama-server',
  model: 'm',
  key: 'servers.llama-server.models.m.parallel',
  before: 1,
  parallel: 6,
  changed: true,
  took_ms: 2000,
  first_token_ms: 90,
  undo_s: 60,
  ...change,
});

describe('requests at a time', () => {
  it('are used by one button and taken back by another', async () => {
    const backend = new ScriptedBackend();
    backend.answers.use_parallel = (): Reply => ({ reply: 'parallel', report: report() });
    backend.answers.undo_parallel = (): Reply => ({
      reply: 'parallel',
      report: report({ before: 6, parallel: 1, undo_s: 0 }),
    });
    const of = sweepRun(7, 0);
    show(UseParallel, { run: of, requests: 6 }, backend);
    await userEvent.click(screen.getByTestId('parallel-use'));
    expect(backend.of('use_parallel')).toEqual([
      { call: 'use_parallel', model: of.model, server: of.server, parallel: 6 },
    ]);
    expect(plain((await screen.findByTestId('parallel-done')).textContent)).toContain('answers 6 at a time now.');
    expect(screen.queryByTestId('parallel-use')).toBeNull();
    await userEvent.click(screen.getByTestId('parallel-undo'));
    await vi.waitFor(() =>
      expect(plain(screen.getByTestId('parallel-done').textContent)).toContain('1 at a time again.'),
    );
    expect(screen.queryByTestId('parallel-undo')).toBeNull();
    expect(screen.getByTestId('parallel-use')).toBeTruthy();
  });

  it('say what the owner of a server has to set, and nothing when they were cancelled', async () => {
    const backend = new ScriptedBackend();
    const refused = (code: ApiError['code'], hint: string | null): ApiError => ({
      code,
      message: 'No.',
      hint,
      retry: false,
    });
    const change = new ParallelChange(new Store(backend, new TestVisibility()));
    backend.answers.use_parallel = () => refused('not_ours', 'Its owner sets OLLAMA_NUM_PARALLEL=6.');
    await change.use('m', 'ollama', 6);
    expect(change.error?.hint).toContain('OLLAMA_NUM_PARALLEL=6');
    backend.answers.use_parallel = () => refused('cancelled', null);
    await change.use('m', 'ollama', 6);
    expect([change.error, change.done, change.underWay]).toEqual([null, null, null]);
  });

  it('can be undone for a minute', async () => {
    const backend = new ScriptedBackend();
    backend.answers.use_parallel = (): Reply => ({ reply: 'parallel', report: report() });
    let now = 1_000_000;
    const change = new ParallelChange(new Store(backend, new TestVisibility()), () => now);
    await change.use('m', 'llama-server', 6);
    for (const [after, left] of [
      [0, 60],
      [30_500, 30],
      [29_000, 1],
      [1000, 0],
    ] as const) {
      now += after;
      change.tick();
      expect(change.undoLeft).toBe(left);
    }
  });
});
