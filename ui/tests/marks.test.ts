import { render, screen } from '@testing-library/svelte';
import { describe, expect, it } from 'vitest';
import type { Run } from '../src/api/Run';
import { markOf } from '../src/bench/disturbance';
import { detailOf, runs } from '../src/backend/fake/bench';
import { Conversation } from '../src/answer.svelte';
import LastRun from '../src/views/LastRun.svelte';
import Now from '../src/views/Now.svelte';
import RunFigures from '../src/views/RunFigures.svelte';
import RunsTable from '../src/views/RunsTable.svelte';
import TrialTable from '../src/views/TrialTable.svelte';
import { Store } from '../src/store.svelte';
import { renderWith, ScriptedBackend, snapshotOf, TestVisibility } from './support';

const ACTIVE = { server: 'llama-server', model: 'SmolLM2-135M-Instruct.Q4_1' };

function run(change: Partial<Run>): Run {
  const [newest] = runs('ready', Date.now());
  if (newest === undefined) throw new Error('no run');
  return { ...newest, ...ACTIVE, state: 'done', disturbed: [], unsettled: false, note: null, ...change };
}

const by = (what: Run['disturbed'][number]['what']) => ({ what, name: 'cc1plus', pid: 7, percent: 96, seconds: 3 });

describe('a figure that was measured under disturbance', () => {
  it.each([
    [run({}), null],
    [run({ state: 'running' }), null],
    [run({ disturbed: [by('processor')] }), 'disturbed'],
    [run({ disturbed: [by('heat')] }), 'throttled'],
    [run({ disturbed: [by('heat'), by('requests')], unsettled: true }), 'throttled, disturbed, not settled'],
    [run({ unsettled: true }), 'not settled'],
    [run({ state: 'cut_off' }), 'cut off'],
    [run({ state: 'cancelled', disturbed: [by('swap')] }), 'cancelled, disturbed'],
  ])('has its mark', (one, wanted) => {
    expect(markOf(one)).toBe(wanted);
  });

  it('carries it in the head, which shows the speed of the last benchmark', () => {
    const last_run = run({ disturbed: [by('processor')] });
    const backend = new ScriptedBackend();
    const store = new Store(backend, new TestVisibility());
    store.snapshot = snapshotOf('ready', { last_run });
    const conversation = new Conversation((call) => store.call(call));
    render(Now, { props: { conversation }, context: new Map([['store', store]]) });
    expect(screen.getByTestId('speed').textContent).toContain('tok/s');
    expect(screen.getByTestId('figure-mark').textContent?.trim()).toBe('disturbed');
    expect(screen.getByTestId('figure-mark').title).toMatch(/cc1plus/);
  });

  it('carries it at the last benchmark, which says what its ends are', () => {
    renderWith(LastRun, snapshotOf('ready', { last_run: run({ state: 'cut_off' }) }));
    expect(screen.getByTestId('figure-mark').textContent?.trim()).toBe('cut off');
    expect(screen.getByText(/range of 5/)).toBeTruthy();
    expect(screen.queryByText(/95/)).toBeNull();
  });

  it('carries it in lists and on its own page, and a quiet one carries none', () => {
    const context = new Map([['store', storeOf()]]);
    const list = [run({ run_id: 1 }), run({ run_id: 2, unsettled: true })];
    render(RunsTable, { props: { runs: list, label: 'Runs' }, context });
    expect(screen.getAllByTestId('figure-mark').map((mark) => mark.textContent?.trim())).toEqual(['not settled']);
    render(RunFigures, { props: { run: run({ disturbed: [by('heat')] }) }, context });
    expect(screen.getAllByTestId('figure-mark').at(-1)?.textContent?.trim()).toBe('throttled');
  });
});

it('trials are numbered as people count', () => {
  const detail = detailOf(run({}), null, 'ready');
  const measured = detail.trials.filter((trial) => trial.phase === 'measured');
  expect(measured[0]?.seq).not.toBe(1);
  render(TrialTable, { props: { title: 'Trials', trials: measured } });
  const numbers = screen.getAllByRole('row').slice(1, 4);
  expect(numbers.map((row) => row.querySelector('td')?.textContent)).toEqual(['1', '2', '3']);
});

function storeOf(): Store {
  const store = new Store(new ScriptedBackend(), new TestVisibility());
  store.snapshot = snapshotOf();
  return store;
}
