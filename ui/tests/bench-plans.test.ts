import { describe, expect, it } from 'vitest';
import type { BenchProgress } from '../src/api/BenchProgress';
import type { Run } from '../src/api/Run';
import { pair, planOf, run, sweepRun } from '../src/backend/fake/bench';
import { planRun } from '../src/backend/fake/bench-plans';
import { levelStarts, withLast, type LiveRate } from '../src/bench/live';
import { againCall, callOf, estimate, lastOf, levelsTo, requestSeconds, type Choice } from '../src/bench/plans';
import { parsePath } from '../src/bench/request.svelte';
import { benchTime } from '../src/text';

const plain = (text: string | null) => text?.replaceAll('\u00a0', ' ') ?? null;

/** A quick run at 64 tok/s: a first token after 100 ms, 1100 ms in all. */
function quick(change: Partial<Run> = {}): Run {
  const base = run(1, 0, 'ollama', 'x', 64, 10);
  const of = (median: number) => ({ ...base.decode_tok_s!, median });
  return {
    ...base,
    plan: planOf('quick', 10),
    ttft_ms: of(100),
    decode_tok_s: of(64),
    e2e_ms: of(1100),
    warmups: 2,
    ...change,
  };
}

describe('how long a plan takes', () => {
  it('is said from the last run of that model', () => {
    expect(requestSeconds(quick(), 'quick')).toBeCloseTo(1.1);
    // 6 times the words, twice the tokens.
    expect(requestSeconds(quick(), 'standard')).toBeCloseTo(0.6 + 2);
    expect(estimate('quick', quick(), null, 8)?.high).toBeCloseTo(1.1 * 12);
    expect(estimate('ab', quick(), quick({ warmups: 4 }), 8)?.high).toBeCloseTo(1.1 * 26);
    expect(estimate('quick', quick(), null, 8, 20)?.high).toBeCloseTo(1.1 * 22);
  });

  it('of a sweep lies between a machine that answers all at once and one that answers one by one', () => {
    // Levels 1, 2, 3, 4: 6, 8, 12 and 16 requests; one at a time again, and two warm-ups.
    const found = estimate('sweep', quick(), null, 4);
    expect(found?.low).toBeCloseTo(1.1 * (2 + 6 + 6 + 4 + 4 + 4));
    expect(found?.high).toBeCloseTo(1.1 * (2 + 6 + 6 + 8 + 12 + 16));
  });

  it('of a plan with a course of its own follows from that', () => {
    // An open loop takes what was asked for, known or not.
    expect(estimate('open', null, null, 8, undefined, { seconds: 30 })).toEqual({ low: 30, high: 30 });
    expect(estimate('open', quick(), null, 8, undefined, { seconds: 30 })?.low).toBeCloseTo(30 + 2 * 1.1);
    // Two turns of 200 words, whose signs are tokens too: 0.5 and 1 s to read, half a second for 32 tokens.
    const agent = estimate('agent', quick(), null, 8, undefined, { turns: 2 });
    expect(agent?.high).toBeCloseTo(2 * (0.3125 + 0.5) + 6 * (1 + 1.5));
    expect(agent?.low).toBeLessThan(agent?.high ?? 0);
    const replay = estimate('replay', quick(), null, 8, undefined, { prompts: { count: 10, words: 64 } });
    expect(replay?.low).toBeCloseTo(10 * 0.1);
    expect(replay?.high).toBeCloseTo(12 * 2.1);
    expect(estimate('replay', quick(), null, 8)).toBeNull();
    expect(estimate('agent', null, null, 8)).toBeNull();
  });

  it('is not told from runs whose times are of something else', () => {
    const target = { server: 'ollama', name: 'x' };
    for (const plan of ['open', 'agent', 'replay']) {
      const of = planRun(9, target, { plan, replay: 'a\nb\n' });
      expect(estimate('quick', of, null, 8)).toBeNull();
      expect(lastOf([of!, quick()], 'ollama', 'x')?.run_id).toBe(1);
    }
  });

  it.each([
    ['no run', null],
    ['a run without figures', quick({ e2e_ms: null, decode_tok_s: null })],
    ['a sweep', sweepRun(3, 0)],
  ])('is not made up from %s', (_, last) => {
    expect(estimate('quick', last, null, 8)).toBeNull();
    expect(estimate('ab', quick(), last, 8)).toBeNull();
  });

  it.each([
    [2, 2, 'about 5 s'],
    [31, 33, '30 to 35 s'],
    [31, 31, 'about 30 s'],
    [55, 55, 'about 1 min'],
    [40, 200, '40 s to 3 min'],
    [61, 290, '1 to 5 min'],
  ])('%s to %s seconds: %s', (low, high, words) => {
    expect(plain(benchTime({ low, high }))).toBe(words);
  });

  it('looks for the newest run of the model that has figures', () => {
    const runs = [quick({ run_id: 9, state: 'cancelled' }), sweepRun(8, 0), quick({ run_id: 7 }), quick({ run_id: 6 })];
    expect(lastOf(runs, 'ollama', 'x')?.run_id).toBe(7);
    expect(lastOf(runs, 'lmstudio', 'x')).toBeNull();
  });
});

it('climbs as the engine does', () => {
  expect(levelsTo(1)).toEqual([1]);
  expect(levelsTo(5)).toEqual([1, 2, 3, 4, 5]);
  expect(levelsTo(8)).toEqual([1, 2, 3, 4, 6, 8]);
  expect(levelsTo(64).at(-1)).toBe(64);
});

describe('the call', () => {
  const choice: Choice = {
    model: 'ollama/x',
    server: 'ollama',
    plan: 'quick',
    other: '',
    otherServer: null,
    upTo: 8,
    rate: 1,
    seconds: 60,
    turns: 6,
    prompts: null,
    whenDisturbed: 'stop',
  };

  it('has what its plan needs and nothing else', () => {
    expect(callOf(choice)).toEqual({
      call: 'bench',
      model: 'ollama/x',
      server: 'ollama',
      plan: 'quick',
      when_disturbed: 'stop',
    });
    expect(callOf({ ...choice, plan: 'sweep', upTo: 12 })).toMatchObject({ plan: 'sweep', up_to: 12 });
    expect(callOf({ ...choice, plan: 'open', rate: 2.5, seconds: 30 })).toMatchObject({
      plan: 'open',
      rate_per_s: 2.5,
      seconds: 30,
    });
    expect(callOf({ ...choice, plan: 'agent', turns: 4 })).toMatchObject({ plan: 'agent', turns: 4 });
    const prompts = { name: 'a.txt', text: 'Why?\n' };
    expect(callOf({ ...choice, plan: 'replay', prompts })).toMatchObject({ plan: 'replay', replay: 'Why?\n' });
    expect(callOf({ ...choice, model: '', plan: 'ab', other: 'ollama/x', otherServer: 'ollama' })).toEqual({
      call: 'bench',
      plan: 'ab',
      when_disturbed: 'stop',
      against: { model: 'ollama/x', server: 'ollama' },
    });
  });

  it.each([
    { plan: 'ab' },
    { plan: 'sweep', upTo: 0 },
    { plan: 'sweep', upTo: 65 },
    { plan: 'sweep', upTo: 2.5 },
    { plan: 'open', rate: 0 },
    { plan: 'open', rate: 101 },
    { plan: 'open', rate: 1, seconds: 4 },
    { plan: 'open', rate: 100, seconds: 60 },
    { plan: 'agent', turns: 1 },
    { plan: 'agent', turns: 13 },
    { plan: 'replay', prompts: null },
    { plan: 'replay', prompts: { name: 'a', text: 'why\n'.repeat(201) } },
    { plan: 'replay', prompts: { name: 'a', text: 'ü'.repeat(250_001) } },
  ] as const)('is none while something is missing: %j', (change) =>
    expect(callOf({ ...choice, ...change })).toBeNull(),
  );

  it('of "run again" is the one of the run', () => {
    const [a, b] = pair(4, 0, 12);
    expect(againCall(a, b)).toEqual({
      call: 'bench',
      model: 'ollama/smollm2:135m',
      server: 'ollama',
      plan: 'ab',
      trials: 12,
      when_disturbed: 'mark',
      quiet_wait_s: 60,
      against: { model: 'llama-server/SmolLM2-135M-Instruct.Q4_1', server: 'llama-server' },
    });
    expect(againCall(sweepRun(1, 0), null)).toMatchObject({ plan: 'sweep', up_to: 16, trials: 6 });
    expect(againCall(quick(), null)).not.toHaveProperty('up_to');
    const target = { server: 'ollama', name: 'x' };
    const open = planRun(1, target, { plan: 'open', rate_per_s: 2, seconds: 30 });
    expect(againCall(open!, null)).toMatchObject({ plan: 'open', rate_per_s: 2, seconds: 30, arrivals: 'poisson' });
    expect(againCall(open!, null)).not.toHaveProperty('trials');
    const agent = planRun(1, target, { plan: 'agent', turns: 4 });
    expect(againCall(agent!, null)).toMatchObject({ plan: 'agent', turns: 4, trials: 3 });
  });
});

it.each([
  ['17', { run: 17 }],
  ['17-18', { a: 17, b: 18 }],
  ['17-', null],
  ['x', null],
  [null, null],
])('the address %s names %j', (detail, named) => expect(parsePath(detail)).toEqual(named));

describe('what was measured so far', () => {
  const progress = (more: Partial<BenchProgress>): BenchProgress => ({
    run_id: 1,
    server: 'ollama',
    model: 'x',
    phase: 'measured',
    done: 0,
    total: 10,
    last_decode_tok_s: null,
    block: null,
    concurrency: null,
    turn: null,
    waits_for: [],
    noise: false,
    left_s: null,
    ...more,
  });
  const all = (...steps: Partial<BenchProgress>[]) =>
    steps.reduce<LiveRate[]>((rates, step) => withLast(rates, progress(step)), []);

  it('has each answer once, and none before there is one', () => {
    const seen = all(
      {},
      { done: 1, last_decode_tok_s: 50 },
      { done: 1, last_decode_tok_s: 50 },
      { done: 2, last_decode_tok_s: 51 },
    );
    expect(seen.map((one) => one.rate)).toEqual([50, 51]);
  });

  it('does not take the last answer of a phase for the first of the next', () => {
    const seen = all(
      { phase: 'warmup', done: 2, last_decode_tok_s: 40 },
      { done: 0, last_decode_tok_s: 40 },
      { done: 1, last_decode_tok_s: 50 },
    );
    expect(seen.map((one) => [one.rate, one.warmup])).toEqual([
      [40, true],
      [50, false],
    ]);
  });

  it('keeps sides and levels apart', () => {
    const sides = all(
      { block: [1, 10], done: 1, last_decode_tok_s: 50 },
      { block: [1, 10], done: 1, last_decode_tok_s: 58, server: 'lmstudio' },
    );
    expect(new Set(sides.map((one) => one.who)).size).toBe(2);
    const levels = all(
      { concurrency: 1, done: 1, last_decode_tok_s: 50 },
      { concurrency: 1, done: 2, last_decode_tok_s: 51 },
      { concurrency: 2, done: 1, last_decode_tok_s: 40 },
    );
    expect(levelStarts(levels)).toEqual([
      { index: 0, level: 1 },
      { index: 2, level: 2 },
    ]);
  });
});
