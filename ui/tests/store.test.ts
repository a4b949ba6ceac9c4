import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ApiError } from '../src/api/ApiError';
import type { Reply } from '../src/api/Reply';
import type { SwitchReport } from '../src/api/SwitchReport';
import { emptyHistory } from '../src/series';
import { Store } from '../src/store.svelte';
import { ScriptedBackend, snapshotOf, TestVisibility, unreachable } from './support';

let backend: ScriptedBackend;
let visibility: TestVisibility;
let store: Store;
let stop: () => void;

beforeEach(() => {
  localStorage.clear();
  vi.useFakeTimers();
  backend = new ScriptedBackend();
  visibility = new TestVisibility();
  store = new Store(backend, visibility);
});

afterEach(() => {
  stop?.();
  vi.useRealTimers();
});

function answerWith(snapshot: Reply | ApiError): void {
  backend.answers.snapshot = () => snapshot;
}

/** With somebody at the page. */
function begin(): void {
  stop = store.start();
  visibility.touch();
}

async function pass(ms: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
}

describe('the store', () => {
  it('asks without a revision first and with the known one afterwards', async () => {
    answerWith({ reply: 'snapshot', snapshot: snapshotOf('ready', { revision: 7 }) });
    begin();
    await pass(0);
    expect(backend.of('snapshot')).toEqual([{ call: 'snapshot' }]);
    answerWith({ reply: 'unchanged', revision: 7 });
    await pass(1000);
    expect(backend.of('snapshot').at(-1)).toEqual({ call: 'snapshot', known: 7, parts: true });
    expect(store.snapshot?.revision).toBe(7);
  });

  it('takes the answer that was asked for before it, once; where that failed it asks itself', async () => {
    answerWith({ reply: 'unchanged', revision: 7 });
    const asked: Reply = { reply: 'snapshot', snapshot: snapshotOf('ready', { revision: 7 }) };
    store = new Store(backend, visibility, Promise.resolve(asked));
    begin();
    await pass(0);
    expect([store.snapshot?.revision, backend.of('snapshot')]).toEqual([7, []]);
    await pass(1000);
    expect(backend.of('snapshot')).toEqual([{ call: 'snapshot', known: 7, parts: true }]);
    stop();
    answerWith(asked);
    const failed = Promise.reject<Reply>(unreachable);
    failed.catch(() => undefined);
    store = new Store(backend, visibility, failed);
    begin();
    await pass(0);
    expect(store.offline?.code).toBe('unreachable');
    await pass(1000);
    expect([store.offline, store.snapshot?.revision]).toEqual([null, 7]);
  });

  it('pulls once a second, and more often while a switch is under way', async () => {
    answerWith({ reply: 'snapshot', snapshot: snapshotOf() });
    begin();
    await pass(3500);
    expect(backend.of('snapshot')).toHaveLength(4);
    const to = { server: 'ollama', model: 'smollm2:135m' };
    const switching = {
      switch_id: 1,
      from: null,
      to,
      phase: 'loading',
      progress: null,
      eta_s: null,
      started_at: '',
    } as const;
    answerWith({ reply: 'snapshot', snapshot: snapshotOf('ready', { switching }) });
    await pass(500);
    const before = backend.of('snapshot').length;
    await pass(1200);
    expect(backend.of('snapshot').length - before).toBe(3);
  });

  it('pulls half as often while nobody is at the page, and at once for whoever comes', async () => {
    answerWith({ reply: 'snapshot', snapshot: snapshotOf() });
    stop = store.start();
    await pass(0);
    await pass(9900);
    expect(backend.of('snapshot')).toHaveLength(5);
    visibility.touch();
    await pass(0);
    expect(backend.of('snapshot')).toHaveLength(6);
    await pass(5000);
    expect(backend.of('snapshot')).toHaveLength(11);
    await pass(30_000);
    const before = backend.of('snapshot').length;
    await pass(10_000);
    expect(backend.of('snapshot')).toHaveLength(before + 5);
  });

  it('pulls after what changes something, and not after what only asks', async () => {
    answerWith({ reply: 'snapshot', snapshot: snapshotOf() });
    begin();
    await pass(0);
    await store.call({ call: 'model_facts' });
    await store.call({ call: 'switches' });
    await pass(0);
    expect(backend.of('snapshot')).toHaveLength(1);
    await store.call({ call: 'dismiss_notice' });
    await pass(0);
    expect(backend.of('snapshot').length).toBeGreaterThan(1);
  });

  it('asks nothing while hidden and at once when seen again', async () => {
    answerWith({ reply: 'snapshot', snapshot: snapshotOf() });
    begin();
    await pass(0);
    visibility.set(true);
    const before = backend.calls.length;
    await pass(60_000);
    expect(backend.calls).toHaveLength(before);
    visibility.set(false);
    await pass(0);
    expect(backend.calls.length).toBeGreaterThan(before);
  });

  it('does not go on pulling when it is hidden during a pull', async () => {
    let release: (reply: Reply) => void = () => undefined;
    backend.answers.snapshot = () => new Promise<Reply>((resolve) => (release = resolve));
    begin();
    await pass(0);
    visibility.set(true);
    release({ reply: 'unchanged', revision: 1 });
    await pass(10_000);
    expect(backend.of('snapshot')).toHaveLength(1);
  });

  it('keeps the last data while offline and then asks for everything anew', async () => {
    answerWith({ reply: 'snapshot', snapshot: snapshotOf('ready', { revision: 900 }) });
    begin();
    await pass(0);
    answerWith(unreachable);
    await pass(1000);
    expect(store.offline?.code).toBe('unreachable');
    expect(store.snapshot?.revision).toBe(900);
    // The engine that answers now is a new one, which counts from the start.
    answerWith({ reply: 'snapshot', snapshot: snapshotOf('ready', { revision: 2 }) });
    await pass(1000);
    expect(backend.of('snapshot').at(-1)).toEqual({ call: 'snapshot' });
    expect(store.offline).toBeNull();
    expect(store.snapshot?.revision).toBe(2);
  });

  it('stops when this browser is not known, until somebody looks again: another tab may have brought the token', async () => {
    answerWith({ code: 'unauthorized', message: '', hint: null, retry: false });
    begin();
    await pass(10_000);
    expect(store.unauthorized).toBe(true);
    expect(backend.of('snapshot')).toHaveLength(1);
    await expect(store.call({ call: 'refresh' })).resolves.toBeTruthy();
    await pass(10_000);
    expect(backend.of('snapshot')).toHaveLength(1);
    answerWith({ reply: 'snapshot', snapshot: snapshotOf() });
    visibility.set(true);
    visibility.set(false);
    await pass(0);
    expect(store.unauthorized).toBe(false);
    await pass(1000);
    expect(backend.of('snapshot').length).toBeGreaterThan(2);
  });

  it('reads only what is new of the gauges, and only with a new sample', async () => {
    const snapshot = snapshotOf();
    answerWith({ reply: 'snapshot', snapshot });
    const history = { ...emptyHistory(), at_ms: [1000, 2000], step_ms: 1000, cpu_percent: [1, null] };
    backend.answers.gauge_history = () => ({ reply: 'gauge_history', history });
    begin();
    await pass(1000);
    expect(backend.of('gauge_history')).toEqual([{ call: 'gauge_history' }]);
    expect(store.gaugeHistory.cpu_percent).toEqual([1, null]);
    const gauges = snapshot.gauges && { ...snapshot.gauges, at: new Date(Date.now() + 1).toISOString() };
    answerWith({ reply: 'snapshot', snapshot: { ...snapshot, gauges } });
    await pass(1000);
    expect(backend.of('gauge_history').at(-1)).toEqual({ call: 'gauge_history', since_ms: 2000 });
    expect(store.gaugeHistory.at_ms).toEqual([1000, 2000]);
  });

  it('puts what has changed over what it has, and the newest samples behind the others', async () => {
    const snapshot = snapshotOf('ready', { revision: 7 });
    answerWith({ reply: 'snapshot', snapshot });
    const history = { ...emptyHistory(), at_ms: [1000, 2000], step_ms: 1000, cpu_percent: [1, null] };
    backend.answers.gauge_history = () => ({ reply: 'gauge_history', history });
    begin();
    await pass(0);
    const at = new Date(Date.now() + 1).toISOString();
    const gauges = snapshot.gauges && { ...snapshot.gauges, at, cpu_percent: 42 };
    answerWith({
      reply: 'parts',
      revision: 9,
      at,
      parts: { gauges, active_absent: 'It is damaged.' },
      history: { ...emptyHistory(), at_ms: [3000], step_ms: 1000, cpu_percent: [42] },
    });
    await pass(1000);
    expect(backend.of('snapshot').at(-1)).toEqual({ call: 'snapshot', known: 7, parts: true, gauges_since_ms: 2000 });
    expect(store.snapshot).toEqual({ ...snapshot, revision: 9, at, gauges, active_absent: 'It is damaged.' });
    expect(store.snapshot?.models).toBe(snapshot.models);
    expect(store.gaugeHistory.at_ms).toEqual([1000, 2000, 3000]);
    expect(backend.of('gauge_history')).toHaveLength(1);
  });

  it('calls gauges stale when their last sample is older than two', async () => {
    answerWith({ reply: 'snapshot', snapshot: snapshotOf('ready', { revision: 3 }) });
    begin();
    await pass(0);
    expect(store.gaugesStale).toBe(false);
    answerWith(unreachable);
    await pass(5000);
    expect(store.gaugesStale).toBe(true);
  });

  it('tells the age by the clock of the engine, although its snapshot stands still with the gauges', async () => {
    const snapshot = snapshotOf('ready', { revision: 3 });
    const after = (seconds: number) => new Date(Date.parse(snapshot.gauges?.at ?? '') + seconds * 1000).toISOString();
    answerWith({ reply: 'snapshot', snapshot, now: after(65) });
    begin();
    await pass(0);
    expect(store.gaugesStale).toBe(true);
    expect(store.gaugeAge).toBeGreaterThanOrEqual(65_000);
    // It goes on answering, with nothing new.
    for (let second = 66; second < 70; second += 1) {
      answerWith({ reply: 'unchanged', revision: 3, now: after(second) });
      await pass(1000);
    }
    expect(store.gaugeAge).toBeGreaterThanOrEqual(69_000);
  });

  it('takes the time between two samples from the engine, which samples slowly while nobody looks', async () => {
    const snapshot = snapshotOf('ready', { revision: 3 });
    const gauges = snapshot.gauges && { ...snapshot.gauges, interval_ms: 5000 };
    answerWith({ reply: 'snapshot', snapshot: { ...snapshot, gauges } });
    begin();
    await pass(0);
    answerWith(unreachable);
    await pass(9000);
    expect(store.gaugesStale).toBe(false);
    await pass(2000);
    expect(store.gaugesStale).toBe(true);
  });

  it('asks for a longer past when that is chosen, and again only when a point is due', async () => {
    const next = () =>
      answerWith({
        reply: 'snapshot',
        snapshot: snapshotOf('ready', { revision: (store.snapshot?.revision ?? 0) + 1 }),
      });
    const day = { ...emptyHistory(), at_ms: [0, 60_000], step_ms: 60_000, cpu_percent: [1, 2] };
    backend.answers.gauge_history = (call) => ({
      reply: 'gauge_history',
      history: 'span_s' in call ? day : { ...emptyHistory(), at_ms: [1000], step_ms: 1000, cpu_percent: [9] },
    });
    next();
    begin();
    await pass(0);
    expect(store.gaugeHistory.cpu_percent).toEqual([9]);
    await store.lookBack('24h');
    expect(backend.of('gauge_history').at(-1)).toEqual({ call: 'gauge_history', span_s: 86_400 });
    expect(store.gaugeHistory).toEqual(day);
    const before = backend.of('gauge_history').length;
    for (let second = 0; second < 50; second += 1) {
      next();
      await pass(1000);
    }
    expect(backend.of('gauge_history')).toHaveLength(before);
    for (let second = 0; second < 15; second += 1) {
      next();
      await pass(1000);
    }
    expect(backend.of('gauge_history')).toHaveLength(before + 1);
    expect(new Store(backend, visibility).gaugeSpan).toBe('24h');
    await store.lookBack('15m');
    expect(store.gaugeHistory.cpu_percent).toEqual([9]);
    expect(backend.of('gauge_history').at(-1)).toEqual({ call: 'gauge_history' });
  });

  it('drops an answer for a past that is no longer shown', async () => {
    let answer: (reply: Reply) => void = () => undefined;
    backend.answers.gauge_history = (call) =>
      'span_s' in call && call.span_s === 3600
        ? new Promise<Reply>((resolve) => (answer = resolve))
        : { reply: 'gauge_history', history: { ...emptyHistory(), at_ms: [5], cpu_percent: [5] } };
    const slow = store.lookBack('1h');
    await store.lookBack('30d');
    answer({ reply: 'gauge_history', history: { ...emptyHistory(), at_ms: [1], cpu_percent: [1] } });
    await slow;
    expect(store.gaugeHistory.cpu_percent).toEqual([5]);
  });
});

describe('a switch', () => {
  const to = { server: 'ollama', model: 'smollm2:135m' };
  const from = { server: 'llama-server', model: 'SmolLM2-135M-Instruct.Q4_1' };
  const report: SwitchReport = {
    switch_id: 5,
    from,
    to,
    outcome: 'committed',
    dry_run: false,
    took_ms: 1,
    load_ms: null,
    first_token_ms: null,
    steps: [],
    answers_cut: 0,
    journalled: true,
    reason: null,
    error: null,
  };

  it('is shown at once and asked for by id', async () => {
    let release: (reply: Reply) => void = () => undefined;
    backend.answers.switch = () => new Promise<Reply>((resolve) => (release = resolve));
    const done = store.switchTo(to);
    expect(store.requested).toEqual(to);
    expect(backend.of('switch')).toEqual([
      { call: 'switch', model: 'ollama/smollm2:135m', server: 'ollama', dry_run: false, now: false },
    ]);
    release({ reply: 'switch', report });
    await done;
    expect(store.requested).toBeNull();
  });

  it('that was taken over does not end the one that took over', async () => {
    const releases: ((reply: Reply) => void)[] = [];
    backend.answers.switch = () => new Promise<Reply>((resolve) => releases.push(resolve));
    const first = store.switchTo(to);
    void store.switchTo(from);
    await pass(0);
    releases[0]?.({ reply: 'switch', report: { ...report, outcome: 'cancelled' } });
    await first;
    expect(store.requested).toEqual(from);
  });

  it('that is refused says why', async () => {
    backend.answers.switch = () => ({ code: 'not_found', message: 'No such model.', hint: null, retry: false });
    await store.switchTo(to);
    expect(store.switchError?.code).toBe('not_found');
  });

  it('can be undone until the engine’s clock says otherwise, also where no answer comes any more', async () => {
    const undo = { back_to: 'Gemma 3 270M', done: 'SmolLM2 135M is active', until: '2026-11-28T10:01:00Z' };
    const at = '2026-11-28T10:00:00Z';
    const told = (more: object) => snapshotOf('ready', { at, undo, ...more });
    answerWith({ reply: 'snapshot', snapshot: told({ revision: 1 }), now: at });
    begin();
    await pass(0);
    expect(store.undo).toEqual(undo);
    answerWith({ reply: 'unchanged', revision: 1, now: '2026-11-28T10:00:59Z' });
    await pass(1000);
    expect(store.undo).toEqual(undo);
    answerWith(unreachable);
    await pass(3000);
    expect(store.undo).toBeNull();
  });

  it('that cannot be taken back offers no undo', async () => {
    answerWith({ reply: 'snapshot', snapshot: snapshotOf('ready', { last_switch: report, undo: null }) });
    begin();
    await pass(0);
    expect(store.undo).toBeNull();
  });
});
