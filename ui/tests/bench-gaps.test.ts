import { describe, expect, it } from 'vitest';
import type { Trial } from '../src/api/Trial';
import { run, trials } from '../src/backend/fake/bench';
import { distribution, gapsOf, placeOf } from '../src/bench/gaps';

const some = trials(run(1, 0, 'ollama', 'm', 50));
const with_ = (gaps_us: number[] | null, flaw: string | null = null): Trial => ({ ...some[3]!, gaps_us, flaw });

describe('gaps between tokens', () => {
  it.each([
    ['nothing is kept', [with_(null)], null],
    ['one of two is kept', [with_(null), with_([2000, 1000])], [1, 2]],
    ['a flawed trial does not count', [with_([9000], 'short'), with_([1000])], [1]],
    ['an answer of one piece has none', [with_([])], []],
    ['several answers are taken together', [with_([3000]), with_([1000, 0])], [0, 1, 3]],
  ])('%s', (_, of, wanted) => expect(gapsOf(of)).toEqual(wanted));

  it('are counted each once, and those of one read apart', () => {
    const gaps = [0, 0, 5, 5.1, 5.2, 10, 20, 5000];
    const { none, bars } = distribution(gaps);
    expect([none, bars.reduce((sum, bar) => sum + bar.count, 0)]).toEqual([2, 6]);
    expect(bars[0]!.from).toBeLessThan(5);
    expect(bars.at(-1)!.to).toBeGreaterThan(5000);
    expect(placeOf(bars, 5000)).toBeGreaterThan(95);
    expect(placeOf(bars, 0)).toBe(0);
  });

  it.each([[[]], [[0, 0]], [[7, 7, 7]]])('of %j make no nonsense', (gaps) => {
    const { bars } = distribution(gaps);
    expect(bars.every((bar) => Number.isFinite(bar.from) && bar.to > bar.from)).toBe(true);
    expect(bars.reduce((sum, bar) => sum + bar.count, 0)).toBe(gaps.filter((gap) => gap > 0).length);
  });
});
