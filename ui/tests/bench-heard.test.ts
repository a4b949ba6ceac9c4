import { describe, expect, it } from 'vitest';
import type { BenchProgress } from '../src/api/BenchProgress';
import type { Run } from '../src/api/Run';
import { runs } from '../src/backend/fake/bench';
import { endHeard, progressHeard } from '../src/bench/heard';
import { snapshotOf } from './support';

const progress = (change: Partial<BenchProgress>): BenchProgress => ({
  ...{ run_id: 1, server: 'llama-server', model: 'm', phase: 'measured', done: 0, total: 5 },
  ...{ last_decode_tok_s: null, block: null, concurrency: null, turn: null, noise: false, waits_for: [], left_s: null },
  ...change,
});
/** All that is heard of work with so many steps, each thing once. */
const heard = (steps: number, at: (step: number) => Partial<BenchProgress>) => [
  ...new Set(Array.from({ length: steps }, (_, step) => progressHeard(progress(at(step))))),
];

describe('what is heard of a benchmark under way', () => {
  it.each([
    [1, ['Trial 1 of 1']],
    [3, ['Trial 1 of 3', 'Trial 2 of 3', 'Trial 3 of 3']],
    [5, ['Trial 1 of 5', 'Trial 3 of 5', 'Trial 4 of 5', 'Trial 5 of 5']],
    [200, ['Trial 1 of 200', 'Trial 51 of 200', 'Trial 101 of 200', 'Trial 151 of 200']],
  ])('of %i trials are four parts at most', (total, wanted) => {
    expect(heard(total + 1, (done) => ({ done, total }))).toEqual(wanted);
  });

  it('are blocks, turns and levels instead of trials, and the warm-up once', () => {
    expect(heard(10, (step) => ({ block: [step + 1, 10], done: step % 4 }))).toEqual(
      [1, 4, 6, 9].map((k) => `Block ${k} of 10`),
    );
    expect(heard(8, (step) => ({ turn: [step + 1, 8] }))).toEqual([1, 3, 5, 7].map((k) => `Turn ${k} of 8`));
    expect(heard(8, (step) => ({ concurrency: step < 4 ? 1 : 2, done: step }))).toEqual(['1 at a time', '2 at a time']);
    expect(heard(6, (done) => ({ phase: 'warmup', done, total: 6 }))).toEqual(['Warming up']);
  });

  it('is who disturbs, without figures that change', () => {
    const by = (percent: number) => ({ what: 'processor' as const, name: 'cc1plus', pid: 7, percent, seconds: 3 });
    expect(heard(3, (step) => ({ waits_for: [by(90 + step)] }))).toEqual(['Waiting for a quiet machine: cc1plus']);
  });
});

describe('what is heard at its end', () => {
  const { models } = snapshotOf();
  const run = (change: Partial<Run>): Run => {
    const [newest] = runs('ready', Date.now());
    if (newest === undefined) throw new Error('no run');
    const quiet = { disturbed: [], unsettled: false, note: null };
    return {
      ...newest,
      server: 'llama-server',
      model: 'SmolLM2-135M-Instruct.Q4_1',
      state: 'done',
      ...quiet,
      ...change,
    };
  };
  it.each<[Partial<Run>, RegExp]>([
    [{}, /^Measured SmolLM2 135M Instruct: \d+\stok\/s, first token [\d.]+\sms\.$/],
    [{ unsettled: true }, /, not settled\.$/],
    [{ decode_tok_s: null, ttft_ms: null }, /^Measured SmolLM2 135M Instruct\.$/],
    [{ state: 'cancelled' }, /^The benchmark of SmolLM2 135M Instruct was cancelled\. What was measured is kept\.$/],
    [{ state: 'cut_off' }, /^The benchmark of SmolLM2 135M Instruct has ended early\.$/],
  ])('are the figures that matter, or why there are none: %o', (change, words) => {
    expect(endHeard(run(change), models)).toMatch(words);
  });
});
