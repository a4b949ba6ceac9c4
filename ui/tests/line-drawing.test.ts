import { describe, expect, it } from 'vitest';
import { runsOf } from '../src/components/line-drawing';
import { highest } from '../src/time-axis';

const frame = { width: 100, height: 52, range: [10, 20] as const, top: 50 };

describe('the line of a gauge', () => {
  it('lies between zero and the top, from the begin of the range to its end', () => {
    expect(runsOf([10, 15, 20], [0, 25, 50], frame)).toEqual([
      [
        [0, 51],
        [50, 26],
        [100, 1],
      ],
    ]);
  });

  it('is cut where nothing was read, and has no place without samples', () => {
    const runs = runsOf([10, 12, 14, 16, 18], [null, 10, null, null, 20], frame);
    expect(runs.map((run) => run.map(([x]) => x))).toEqual([[20], [80]]);
    expect(runsOf([], [], frame)).toEqual([]);
    expect(runsOf([10, 11], [null, null], frame)).toEqual([]);
  });

  it('comes in from the left with what was read before the range', () => {
    expect(runsOf([9, 11], [0, 0], frame)[0]?.map(([x]) => x)).toEqual([-10, 10]);
  });

  it('has the highest of what is known for its top, and zero where nothing is', () => {
    expect(highest([3, null, 7, 5])).toBe(7);
    expect(highest([null, null])).toBe(0);
    expect(highest([])).toBe(0);
  });
});
