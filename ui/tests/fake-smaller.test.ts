import { describe, expect, it } from 'vitest';
import type { KvType } from '../src/api/KvType';
import type { LoadSettings } from '../src/api/LoadSettings';
import type { SceneOffer } from '../src/api/SceneOffer';
import { hintOf, smallerSettings, smallerThatFits } from '../src/backend/fake/smaller';

// The cases of the engine's own tests (its domain::residency::smaller and domain::scene::view).
const wish = (context: number | null, kv_type: KvType | null): LoadSettings => ({
  ...(context !== null && { context }),
  ...(kv_type !== null && { kv_type }),
});
/** 100 for the weights, 1 for each token of the cache in f16. */
const bytes = ({ context = 16_384, kv_type = 'f16' }: LoadSettings) =>
  100 + context * { f32: 2, f16: 1, q8_0: 0.5, q5_1: 0.4, q4_0: 0.25 }[kv_type];

describe('smaller settings of a role', () => {
  it.each([
    [wish(8192, 'f16'), 2 + 2 + 4],
    [wish(2048, 'q4_0'), 0],
    [wish(2048, 'f16'), 2],
    [wish(4096, 'q8_0'), 1 + 1 + 1],
    [wish(null, null), 1 + 2 + 2],
  ])('of %o are %i', (has, many) => {
    expect(smallerSettings(has)).toHaveLength(many);
  });

  it.each<[string, number, [number | null, KvType | null][]]>([
    [
      'the longest context and the widest type, each alone',
      4000,
      [
        [8192, null],
        [null, 'q8_0'],
      ],
    ],
    [
      'what is just enough',
      8192,
      [
        [8192, null],
        [null, 'q8_0'],
      ],
    ],
    [
      'what is left of each kind',
      12_288,
      [
        [4096, null],
        [null, 'q4_0'],
      ],
    ],
    ['the context alone, where no type is enough', 13_000, [[2048, null]]],
    ['both together, where neither is enough alone, the longest context first', 14_500, [[4096, 'q4_0']]],
    ['nothing, where all of it is too little', 16_300, []],
  ])('offered are %s', (_, short, wanted) => {
    const has = wish(16_384, null);
    const reckoned = smallerSettings(has).map((one) => [one, bytes(one)] as const);
    const found = smallerThatFits(has, bytes(has), reckoned, short);
    expect(
      found.map((one) => [one.with.context === 16_384 ? null : one.with.context, one.with.kv_type ?? null]),
    ).toEqual(wanted);
    for (const one of found) expect(one.frees_bytes).toBeGreaterThanOrEqual(short);
  });

  it('are none where nothing was reckoned, or nothing is saved', () => {
    const has = wish(16_384, null);
    expect(smallerThatFits(has, 500, [], 10)).toEqual([]);
    expect(smallerThatFits(has, 500, [[wish(8192, null), 500]], 0)).toEqual([]);
  });
});

describe('the hint of a refusal', () => {
  const smaller = (what: string): SceneOffer => ({
    ...{ what, without_role: null, unload: null, frees_bytes: 1, enough: true },
    smaller: { role: 'a', context: 8192, kv_type: null },
  });
  const other = (what: string, enough: boolean): SceneOffer => ({
    ...{ what, without_role: null, unload: null, smaller: null, frees_bytes: 1, enough },
  });
  it.each<[SceneOffer[], string | null]>([
    [[], null],
    [[other('Without small', false)], null],
    [[other('Without small', true)], 'without small'],
    [[smaller('Critical with context 8192'), other('Without small', false)], 'Critical with context 8192'],
    [
      [smaller('a with q8_0'), smaller('b with both'), other('Unload Qwen first', true), other('Without a', true)],
      'a with q8_0, b with both or unload Qwen first',
    ],
  ])('names what is enough alone, and no more than a person reads', (offers, inside) => {
    expect(hintOf(offers)).toBe(inside === null ? null : `It would fit this way: ${inside}.`);
  });
});
