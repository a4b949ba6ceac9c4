import { expect, test } from 'vitest';
import type { Trend } from '../src/api/Trend';
import { levelsOf } from '../src/bench/levels';

const trend = (state: Trend['watch']['state'], since: number | null): Trend => ({
  server: 'ollama',
  model: 'm',
  plan: 'quick',
  metric: 'decode_tok_s',
  points: [],
  watch: {
    state,
    baseline: 100,
    now: 90,
    worse_by: 0.1,
    since_run: since,
    since: null,
    runs: [],
    changed: [],
    words: 'decode is 10 % lower',
  },
  change_points: [],
});

test('only what is confirmed is called worse', () => {
  for (const [state, since, lines] of [
    ['confirmed', 7, 1],
    ['suspected', 7, 0],
    ['steady', null, 0],
    ['too_few', null, 0],
  ] as const) {
    expect(levelsOf([trend(state, since)], null)).toHaveLength(lines);
  }
  const [level] = levelsOf([trend('confirmed', 7)], null);
  expect(level).toMatchObject({ runId: 7, worse: true, words: 'decode is 10 % lower' });
});

test('a change of level is a line of its own, whether it is better or worse', () => {
  const change = {
    run_id: 5,
    at: '',
    before: 90,
    after: 100,
    change: 0.11,
    is_better: true,
    p: 0,
    changed: [],
    words: 'up',
  };
  const levels = levelsOf([{ ...trend('steady', null), change_points: [change] }], null);
  expect(levels.map((level) => [level.runId, level.worse, level.words])).toEqual([[5, false, 'up']]);
});
