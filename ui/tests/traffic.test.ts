import { describe, expect, it } from 'vitest';
import type { RequestRecord } from '../src/api/RequestRecord';
import type { Query } from '../src/route.svelte';
import { FakeTraffic } from '../src/backend/fake/traffic';
import {
  cachedShare,
  clientName,
  heldStill,
  rateData,
  shareOut,
  timeParts,
  tokenText,
  trafficCallOf,
  trafficQueryOf,
  trafficViewOf,
  withLive,
} from '../src/traffic';

const AT = Date.parse('2026-11-29T10:00:00Z');
const record = (id: number, change: Partial<RequestRecord> = {}): RequestRecord => ({
  ...new FakeTraffic('hybrid').end(),
  ...{ id, at: new Date(AT).toISOString(), queued_ms: null, load_ms: null, ttft_ms: null, total_ms: null },
  ...change,
});
const parts = (change: Partial<RequestRecord>, after = 5000) =>
  timeParts(record(1, change), AT + after).map(({ key, ms, live }) => `${key} ${ms}${live ? ' live' : ''}`);

describe('the address of the page', () => {
  it.each([
    [{}, { limit: 25 }],
    [{ find: ' notes ' }, { limit: 25, find: 'notes' }],
    [{ show: 'slow' }, { limit: 25, slower_than_ms: 2000 }],
    [
      { show: 'under_way', client: 'aider' },
      { limit: 25, state: 'under_way', client: 'aider' },
    ],
    [{ model: 'ollama/hf.co/a/b:Q4' }, { limit: 25, server: 'ollama', model: 'hf.co/a/b:Q4' }],
    [{ before: '81' }, { limit: 25, before: 81 }],
  ])('%j asks for %j', (query, filter) => {
    expect(trafficCallOf(trafficViewOf(query)).filter).toEqual(filter);
  });

  it.each<Query>([
    { show: 'everything' },
    { show: 'toString' },
    { before: '-3' },
    { before: '1.5' },
    { before: 'x' },
    { span: '3y' },
    { span: 'constructor' },
    { model: 'no-server' },
  ])('%j means nothing and is as if it were not there', (query) => {
    expect(trafficQueryOf(trafficViewOf(query))).toEqual({});
  });

  it('keeps what is not as usual', () => {
    const query = { find: 'a', client: 'b', model: 's/m', show: 'failed', before: '7', span: '24h' };
    expect(trafficQueryOf(trafficViewOf(query))).toEqual(query);
  });
});

describe('where the time went', () => {
  it.each<[string, Partial<RequestRecord>, string[]]>([
    [
      'an answer that was streamed',
      { state: 'done', queued_ms: 120, ttft_ms: 508, total_ms: 4630 },
      ['queue 120', 'load null', 'prefill 388', 'decode 4122'],
    ],
    [
      'one that waited for a load',
      { state: 'done', queued_ms: 0, load_ms: 3120, ttft_ms: 3710, total_ms: 6020 },
      ['queue 0', 'load 3120', 'prefill 590', 'decode 2310'],
    ],
    ['one in one piece', { state: 'done', queued_ms: 40, total_ms: 240 }, ['queue 40', 'load null', 'whole 200']],
    ['one that was refused', { state: 'failed', total_ms: 12 }, ['queue null', 'load null', 'whole 12']],
    ['one that waits', { state: 'waiting' }, ['queue 5000 live', 'load null']],
    ['one whose model loads', { state: 'loading', queued_ms: 800 }, ['queue 800', 'load 4200 live']],
    [
      'one whose prompt is read',
      { state: 'answering', queued_ms: 100 },
      ['queue 100', 'load null', 'prefill 4900 live'],
    ],
    [
      'one that is being answered',
      { state: 'answering', queued_ms: 100, ttft_ms: 600 },
      ['queue 100', 'load null', 'prefill 500', 'decode 4400 live'],
    ],
    // Clocks and roundings: nothing is less than nothing.
    [
      'a first token before the end of its wait',
      { state: 'done', queued_ms: 600, ttft_ms: 500, total_ms: 400 },
      ['queue 600', 'load null', 'prefill 0', 'decode 0'],
    ],
  ])('%s', (_, change, wanted) => {
    expect(parts(change)).toEqual(wanted);
  });
});

describe('a list that is held still', () => {
  const rows = [record(5), record(4, { state: 'answering' }), record(3)];

  it('keeps its rows, tells what is new of them, and counts what waits', () => {
    const fresh = [record(7), record(6), record(5), record(4, { state: 'done' })];
    const { rows: shown, newer } = heldStill(rows, fresh);
    expect(shown.map((one) => [one.id, one.state])).toEqual([
      [5, rows[0]!.state],
      [4, 'done'],
      [3, rows[2]!.state],
    ]);
    expect(newer).toBe(2);
  });

  it('takes from the snapshot only what still goes on', () => {
    const live = [record(4, { state: 'answering', ttft_ms: 9 }), record(5, { state: 'waiting' })];
    expect(withLive(rows, live).map((one) => one.ttft_ms)).toEqual([null, 9, null]);
    expect(withLive(rows, live)[0]).toBe(rows[0]);
  });
});

it('an estimate looks like one, and what is not told is not nought', () => {
  expect(tokenText(1866, { counted: true })).toBe('1,866');
  expect(tokenText(143, { counted: false })).toBe('~143');
  expect(tokenText(0, { counted: true })).toBe('0');
  expect(tokenText(null, { counted: true })).toBeNull();
  expect(cachedShare({ tokens_in: 200, tokens_cached: 176 })?.replace('\u00a0', ' ')).toBe('88 %');
  expect(cachedShare({ tokens_in: 0, tokens_cached: 0 })).toBeNull();
  expect(cachedShare({ tokens_in: 200, tokens_cached: null })).toBeNull();
});

it.each<[Partial<RequestRecord>, number | null]>([
  [{ state: 'answering', most_output: 400 }, 0.25],
  [{ state: 'answering', most_output: 50 }, 1],
  [{ state: 'answering', most_output: null }, null],
  [{ state: 'answering', most_output: 0 }, null],
  [{ state: 'done', most_output: 400 }, null],
])('of %j so much is there: %s', (change, share) => {
  const tokens = { input: 1, cached: null, output: 100, counted: false };
  expect(shareOut(record(1, { tokens, ...change }))).toBe(share);
});

it('a client is its key, else its program, else unknown', () => {
  expect(clientName({ key: 'k', program: 'p', pid: 1 })).toBe('k');
  expect(clientName({ key: null, program: 'p', pid: 1 })).toBe('p');
  expect(clientName({ key: null, program: null, pid: 1 })).toBeNull();
});

it('rates end at their end, a step apart', () => {
  const [seconds, values] = rateData({ step_ms: 5000, until: new Date(AT).toISOString(), tok_s: [1, 2, 3] });
  expect(seconds.map((one) => one - AT / 1000)).toEqual([-10, -5, 0]);
  expect(values).toEqual([1, 2, 3]);
});
