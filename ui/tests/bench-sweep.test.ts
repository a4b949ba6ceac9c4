import { describe, expect, it } from 'vitest';
import type { Sweep } from '../src/api/Sweep';
import { LEVELS, run, sweepOf } from '../src/backend/fake/bench';
import { figuresOfRun, flawsOf } from '../src/bench/figures';
import {
  againWords,
  axisTop,
  clippedTop,
  energyOf,
  inTimeWords,
  levelPlaces,
  limitWords,
  markedLevels,
  markWidth,
  mostSeen,
  sweepTitle,
} from '../src/bench/sweep';
import { niceStep, ticksOf } from '../src/plot';

const plain = (text: string | null) => text?.replaceAll('\u00a0', ' ') ?? null;
const sweep = sweepOf(LEVELS);
const knee = { concurrency: 6, method: 'the fewest with 90 % of the most that was seen' };

describe('what a sweep says first', () => {
  it.each([
    [{ best: 6, knee }, '6 at a time is the best use of X', [6]],
    [{ best: 1, knee: null }, 'One at a time is the best use of X', [1]],
    [{ best: 4, knee }, '4 at a time is the best use of X', [4, 6]],
    [{ best: null, knee }, 'X gains little beyond 6 at a time, and answers late there', [6]],
    [{ best: null, knee: null }, 'No best number of requests at a time for X up to 16', []],
  ])('%j: %s', (change, title, marked) => {
    const of: Sweep = { ...sweep, ...change };
    expect(sweepTitle(of, 'X')).toBe(title);
    expect(markedLevels(of)).toEqual(marked);
  });
});

describe('the axis of levels', () => {
  it('is even up to 16 and by doublings beyond', () => {
    const even = levelPlaces([1, 2, 4, 8, 16]);
    expect((even[2] ?? 0) - (even[1] ?? 0)).toBeCloseTo(2 * ((even[1] ?? 0) - (even[0] ?? 0)));
    const doubled = levelPlaces([1, 2, 4, 8, 16, 32, 64]);
    expect((doubled[6] ?? 0) - (doubled[5] ?? 0)).toBeCloseTo((doubled[1] ?? 0) - (doubled[0] ?? 0));
    for (const place of [...even, ...doubled]) expect(place).toBeGreaterThan(0);
    expect(levelPlaces([4])).toEqual([50]);
  });

  it('has marks that touch no neighbour', () => {
    const places = levelPlaces(LEVELS);
    for (const [index, place] of places.entries()) {
      const next = places[index + 1];
      if (next !== undefined) expect(place + markWidth(places, index) / 2).toBeLessThan(next);
    }
  });
});

describe('the axes of values', () => {
  it.each([
    [233, 240],
    [58.2, 60],
    [99, 120],
    [0.7, 0.8],
    [1000, 1200],
    [0, 1],
  ])('the highest of %s: up to %s', (most, top) => expect(axisTop(most)).toBe(top));

  it('end before values that would press the others onto the floor', () => {
    expect(clippedTop([200, 300, 900], 300)).toBe(1000);
    expect(clippedTop([200, 300, 900, 9000], 300)).toBe(1000);
    expect(clippedTop([200, 9000], 300)).toBeGreaterThanOrEqual(600);
    expect(clippedTop([null, null], 300)).toBeGreaterThan(300);
  });

  it.each([
    [10, 10],
    [12, 10],
    [0.7, 0.5],
    [23, 20],
  ])('a step within %s: %s', (value, step) => expect(niceStep(value)).toBe(step));

  it('have round ticks within their ends', () => {
    expect(ticksOf({ min: 47.2, max: 60.4 }, 7)).toEqual([48, 50, 52, 54, 56, 58, 60]);
    expect(ticksOf({ min: 0.11, max: 0.34 }, 4)).toEqual([0.2, 0.3]);
    expect(ticksOf({ min: 5, max: 5 })).toEqual([]);
  });
});

describe('what a sweep explains', () => {
  it('says from where on first tokens are late', () => {
    expect(plain(inTimeWords(sweep))).toMatch(
      /^From 8 at a time on, the first token takes more than 300 ms for \d+ of 100/,
    );
    const quick = { ...sweep, points: sweep.points.slice(0, 5) };
    expect(plain(inTimeWords(quick))).toBe('At each level, 95 of 100 first tokens come within 300 ms.');
    expect(plain(inTimeWords({ ...sweep, points: sweep.points.slice(5) }))).toMatch(/^At no level/);
    const none = sweep.points.map((point) => ({ ...point, ttft_ms: null }));
    expect(inTimeWords({ ...sweep, points: none })).toBeNull();
  });

  it('says what is full and what failed, and nothing of a GPU that is not known', () => {
    expect(limitWords(sweep).map(plain)).toEqual([
      'The GPU is full from 6 at a time on: 98 %.',
      expect.stringMatching(/^1 of \d+ requests failed\.$/),
    ]);
    const bare = sweep.points.slice(0, 3).map((point) => ({ ...point, gpu_load_percent: null }));
    expect(limitWords({ ...sweep, points: bare })).toEqual([expect.stringMatching(/^No failed request among \d+\.$/)]);
    const calm = { ...sweep, points: sweep.points.slice(0, 2) };
    expect(plain(limitWords(calm)[0] ?? null)).toMatch(/^The GPU is never full: at most 88 %/);
  });

  it.each([
    [-0.005, '0.5 % less than at the start: the machine did not change meanwhile'],
    [0.02, '2.0 % more than at the start: the machine did not change meanwhile'],
    [-0.12, /^12 % less than at the start: the machine slowed down/],
    [0.12, /^12 % more than at the start: the machine was disturbed at first/],
    [0, /^as at the start/],
  ])('one at a time again, %s', (again, words) => expect(plain(againWords(again))).toMatch(words));

  it('reckons energy only from what is known', () => {
    const point = sweep.points[0];
    if (point === undefined) throw new Error('no point');
    expect(energyOf({ ...point, power_w: 40, out_tok_s: 50 })).toBeCloseTo(0.8);
    expect(energyOf({ ...point, power_w: null })).toBeNull();
    expect(energyOf({ ...point, power_w: 40, out_tok_s: 0 })).toBeNull();
    expect(mostSeen({ ...sweep, points: [] })).toBeNull();
  });
});

describe('the figures of a run', () => {
  it('are rows for what can be, and not for GPUs that are not there', () => {
    const bare = run(1, 0, 'lmstudio', 'x', 50, 10);
    expect(figuresOfRun(bare).map((one) => one.key)).toEqual(['decode', 'prefill', 'ttft', 'e2e', 'peak']);
    const full = figuresOfRun({ ...bare, peak_gpu_memory_bytes: 5e9, energy_j_per_token: 0.66 });
    expect(full.map((one) => plain(one.single))).toEqual([null, null, null, null, '310 MB', '5.00 GB', '0.660']);
    expect(full[0]).toMatchObject({ serverTells: true, server: null });
    expect(full[2]?.serverTells).toBe(false);
  });

  it('name each flaw once', () => {
    const of = (flaw: string | null) => ({ flaw });
    expect(flawsOf([of('short'), of(null), of('hung'), of('hung')])).toEqual([
      { flaw: 'hung', times: 2 },
      { flaw: 'short', times: 1 },
    ]);
  });
});
