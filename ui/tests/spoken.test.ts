import { render, screen } from '@testing-library/svelte';
import { tick } from 'svelte';
import { describe, expect, it } from 'vitest';
import type { BenchProgress } from '../src/api/BenchProgress';
import type { Snapshot } from '../src/api/Snapshot';
import type { SwitchReport } from '../src/api/SwitchReport';
import type { Page } from '../src/route.svelte';
import { Store } from '../src/store.svelte';
import Spoken from '../src/views/Spoken.svelte';
import { ScriptedBackend, snapshotOf, TestVisibility } from './support';

const GEMMA = { server: 'llama-server', model: 'gemma-3-270m-it-Q4_K_M' };
const SMOL = { server: 'llama-server', model: 'SmolLM2-135M-Instruct.Q4_1' };

function spoken(page: Page = 'now') {
  const store = new Store(new ScriptedBackend(), new TestVisibility());
  store.snapshot = snapshotOf();
  const { rerender } = render(Spoken, { props: { page }, context: new Map([['store', store]]) });
  return { store, rerender, said: () => screen.getAllByRole('status').map((region) => region.textContent) };
}

function report(change: Partial<SwitchReport>): SwitchReport {
  return {
    switch_id: 1,
    from: SMOL,
    to: GEMMA,
    outcome: 'committed',
    dry_run: false,
    took_ms: 900,
    load_ms: 900,
    first_token_ms: 41,
    steps: [],
    answers_cut: 0,
    journalled: true,
    reason: null,
    error: null,
    ...change,
  };
}

describe('what is heard', () => {
  it('is where one has come, but not the page that was opened', async () => {
    const { said, rerender } = spoken();
    expect(said()).toEqual(['', '', '']);
    await rerender({ page: 'settings' });
    expect(said()).toEqual(['Settings', '', '']);
    await rerender({ page: 'now' });
    expect(said()).toEqual(['Now', '', '']);
  });

  it('is each phase of a switch once, without figures that change all the time', async () => {
    const { store, said } = spoken();
    const phase = { switch_id: 1, from: SMOL, to: GEMMA, phase: 'loading', started_at: '' } as const;
    for (const [progress, eta_s] of [
      [0.1, 9],
      [0.6, 3],
    ] as const) {
      store.snapshot = snapshotOf('ready', { switching: { ...phase, progress, eta_s } });
      await tick();
      expect(said()[1]).toBe('Loading: Gemma 3 270M on llama-server');
    }
  });

  it('stays at a long phase while short ones pass by', async () => {
    const { store, said } = spoken();
    const heard: (string | null | undefined)[] = [];
    for (const phase of ['preparing', 'unloading', 'loading', 'proving', 'committing'] as const) {
      const switching = { switch_id: 1, from: SMOL, to: GEMMA, phase, started_at: '', progress: null, eta_s: null };
      store.snapshot = snapshotOf('ready', { switching });
      await tick();
      heard.push(said()[1]);
    }
    const what = 'Gemma 3 270M on llama-server';
    expect([...new Set(heard)]).toEqual([`Preparing: ${what}`, `Loading: ${what}`]);
    // Whoever comes when only a short one is left hears that.
    store.snapshot = snapshotOf('ready');
    await tick();
    const switching = { switch_id: 2, from: SMOL, to: GEMMA, phase: 'proving' as const, started_at: '' };
    store.snapshot = snapshotOf('ready', { switching: { ...switching, progress: null, eta_s: null } });
    await tick();
    expect(said()[1]).toBe(`Asking for a first token: ${what}`);
  });

  it.each([
    ['went well', report({}), 'Gemma 3 270M is active.'],
    [
      'cost answers',
      report({ answers_cut: 1, reason: 'One answer was cut.' }),
      'Gemma 3 270M is active. One answer was cut.',
    ],
    ['was cancelled', report({ outcome: 'cancelled' }), 'Switch to Gemma 3 270M cancelled.'],
    [
      'was put back',
      report({ outcome: 'rolled_back', reason: 'out of memory.' }),
      'Put back SmolLM2 135M Instruct: out of memory.',
    ],
    [
      'left nothing',
      report({ outcome: 'rolled_back', from: null, reason: 'out of memory.' }),
      'Nothing is active now: out of memory.',
    ],
    [
      'has a way out',
      report({
        outcome: 'rolled_back',
        error: { code: 'does_not_fit', message: 'It does not fit.', hint: 'Unload something.', retry: false },
      }),
      'Put back SmolLM2 135M Instruct: It does not fit. Unload something.',
    ],
  ])('is the end of a switch that %s', async (_, ended, words) => {
    const { store, said } = spoken();
    store.ended = { report: ended, at: Date.now() };
    await tick();
    expect(said()[1]).toBe(words);
  });

  it('is a refusal, and a model that no longer answers', async () => {
    const { store, said } = spoken();
    store.switchError = { code: 'busy', message: 'A benchmark is under way.', hint: 'Cancel it.', retry: true };
    await tick();
    expect(said()[1]).toBe('A benchmark is under way. Cancel it.');
    store.switchError = null;
    const snapshot: Snapshot = snapshotOf();
    store.snapshot = { ...snapshot, standing: { ...snapshot.standing, holds: 'stopped', word: 'Stopped' } };
    await tick();
    expect(said()[1]).toBe('SmolLM2 135M Instruct: Stopped');
  });

  it('is a benchmark: its parts on its own page, its begin and end on any', async () => {
    const { store, said, rerender } = spoken();
    const under: BenchProgress = {
      ...{ run_id: 99, ...SMOL, phase: 'measured', done: 0, total: 5, last_decode_tok_s: null, block: null },
      ...{ concurrency: null, turn: null, noise: false, waits_for: [], left_s: null },
    };
    store.snapshot = snapshotOf('ready', { bench: under });
    await tick();
    expect(said()[2]).toBe('Measuring SmolLM2 135M Instruct.');
    await rerender({ page: 'benchmarks' });
    expect(said()[2]).toBe('Trial 1 of 5');
    const last_run = snapshotOf().last_run;
    store.snapshot = snapshotOf('ready', { last_run: last_run && { ...last_run, run_id: 99 } });
    await tick();
    expect(said()[2]).toMatch(/^Measured /);
    // What was there before is not what has ended.
    store.snapshot = snapshotOf('ready', { bench: { ...under, run_id: 100 } });
    await tick();
    store.snapshot = snapshotOf('ready', { last_run: last_run && { ...last_run, run_id: 99 } });
    await tick();
    expect(said()[2]).toBe('');
  });

  it('is each step of a scene once, and what came of it; the page of models says so by itself', async () => {
    const { store, said } = spoken('scenes');
    const step = { scene: 'Night', phase: 'loading', model: GEMMA, done: 1, steps: 5, started_at: '' } as const;
    for (const [progress, eta_s] of [
      [0.1, 9],
      [0.6, 3],
    ] as const) {
      store.snapshot = snapshotOf('ready', { arranging: { ...step, progress, eta_s } });
      await tick();
      expect(said()[1]).toBe('Applying Night. Loading: Gemma 3 270M');
    }
    store.snapshot = snapshotOf('ready');
    store.acts.say('scenes', 'Night is in force after 7 s.');
    await tick();
    expect(said()[1]).toBe('Night is in force after 7 s.');
    store.acts.fail('scenes', { code: 'busy', message: 'A switch is under way.', hint: 'Wait for it.', retry: true });
    await tick();
    expect(said()[1]).toBe('A switch is under way. Wait for it.');
    store.acts.say('models', 'It has left memory.');
    await tick();
    expect(said()[1]).toBe('');
  });
});
