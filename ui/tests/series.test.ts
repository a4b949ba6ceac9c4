import { expect, it } from 'vitest';
import { emptyHistory, joinHistory, plotData, sampleInterval } from '../src/series';
import { place, scaleOf } from '../src/plot';
import { href, parseRoute } from '../src/route.svelte';

const minute = 60_000;
const points = (at_ms: number[]) => ({ ...emptyHistory(), at_ms, cpu_percent: at_ms.map((at) => at / minute) });

it('history keeps 15 minutes and takes each point once', () => {
  const old = points([0, 5 * minute, 10 * minute]);
  const joined = joinHistory(old, points([10 * minute, 16 * minute]));
  expect(joined.at_ms).toEqual([5 * minute, 10 * minute, 16 * minute]);
  expect(joined.cpu_percent).toEqual([5, 10, 16]);
  expect(joinHistory(old, points([10 * minute]))).toBe(old);
  expect(plotData(joined, 'cpu_percent')[0]).toEqual([300, 600, 960]);
});

it('the sample interval is the usual one, whatever holes there are', () => {
  expect(sampleInterval(points([]))).toBe(0);
  expect(sampleInterval(points([0, 2000, 4000, 90_000, 92_000]))).toBe(2000);
});

it('rows share one axis that holds all intervals', () => {
  const summary = (median: number, low: number, high: number) => ({ median, low, high, n: 10, source: 'client' });
  const scale = scaleOf([summary(50, 48, 52), null, summary(58, 57, 60)]);
  expect(scale?.min).toBeLessThan(48);
  expect(scale?.max).toBeGreaterThan(60);
  expect(scaleOf([null])).toBeNull();
  const lone = scaleOf([summary(50, 50, 50)]);
  expect(lone && place(lone, 50)).toBeCloseTo(50);
});

it('addresses lead to pages and an unknown one to Now', () => {
  expect(parseRoute('#/benchmarks/17')).toEqual({ page: 'benchmarks', detail: '17' });
  expect(parseRoute(href('log', 'my server/1'))).toEqual({ page: 'log', detail: 'my server/1' });
  expect(parseRoute('#token=abc')).toEqual({ page: 'now', detail: null });
  expect(parseRoute('')).toEqual({ page: 'now', detail: null });
  expect(parseRoute('#/log/%')).toEqual({ page: 'log', detail: '%' });
});
