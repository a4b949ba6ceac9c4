import { expect, it } from 'vitest';
import { emptyHistory, joinHistory, knownColumns, plotData } from '../src/series';
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

it('means bring their least and greatest samples along, samples do not', () => {
  const history = { ...points([0, minute]), step_ms: minute };
  expect(plotData(history, 'cpu_percent')).toEqual([
    [0, 60],
    [0, 1],
    [null, null],
    [null, null],
  ]);
  const banded = {
    ...history,
    low: { ...history, cpu_percent: [0, 0.5] },
    high: { ...history, cpu_percent: [3, null] },
  };
  expect(plotData(banded, 'cpu_percent').slice(2)).toEqual([
    [0, 0.5],
    [3, null],
  ]);
});

it('a column without any value is not drawn', () => {
  const history = { ...points([0]), memory_used_bytes: [null], gpu_power_w: [0] };
  expect(knownColumns(history)).toEqual(['cpu_percent', 'gpu_power_w']);
});

it('rows share one axis that holds all intervals', () => {
  const summary = (median: number, low: number, high: number) => ({
    median,
    low,
    high,
    n: 10,
    interval: '95 %' as const,
    source: 'client',
  });
  const scale = scaleOf([summary(50, 48, 52), null, summary(58, 57, 60)]);
  expect(scale?.min).toBeLessThan(48);
  expect(scale?.max).toBeGreaterThan(60);
  expect(scaleOf([null])).toBeNull();
  const lone = scaleOf([summary(50, 50, 50)]);
  expect(lone && place(lone, 50)).toBeCloseTo(50);
});

it('addresses lead to pages and an unknown one to Now', () => {
  expect(parseRoute('#/benchmarks/17')).toEqual({ page: 'benchmarks', detail: '17', query: {} });
  expect(parseRoute(href('log', 'my server/1'))).toEqual({ page: 'log', detail: 'my server/1', query: {} });
  expect(parseRoute('#token=abc')).toEqual({ page: 'now', detail: null, query: {} });
  expect(parseRoute('')).toEqual({ page: 'now', detail: null, query: {} });
  expect(parseRoute('#/log/%')).toEqual({ page: 'log', detail: '%', query: {} });
  const asked = { model: 'gemma 3&4', page: '3', picks: '5,7' };
  expect(parseRoute(href('history', undefined, asked))).toEqual({ page: 'history', detail: null, query: asked });
  expect(href('history', undefined, {})).toBe('#/history');
  expect(parseRoute('#/history?')).toEqual({ page: 'history', detail: null, query: {} });
});
