import { describe, expect, it } from 'vitest';
import { pastSwitches } from '../src/backend/fake/facts';
import type { Notice } from '../src/api/Notice';
import { Marks, marksOf } from '../src/marks.svelte';
import { Store } from '../src/store.svelte';
import { movedRange, nearest, rangeOf, roundTop, stepTo, timeTicks } from '../src/time-axis';
import { ScriptedBackend, snapshotOf, TestVisibility, unreachable } from './support';

const at = (text: string) => new Date(text).getTime() / 1000;

describe('the ticks of a time axis', () => {
  it.each([
    ['2026-11-29T14:17:03', '2026-11-29T14:32:03', 3, ['14:20', '14:25', '14:30']],
    ['2026-11-29T14:31:03', '2026-11-29T14:32:03', 3, ['14:31:20', '14:31:40', '14:32:00']],
    ['2026-11-28T20:00:00', '2026-11-29T14:00:00', 3, ['29 Nov', '06:00', '12:00']],
    ['2026-11-01T08:00:00', '2026-11-29T08:00:00', 3, undefined],
    ['2026-11-29T14:32:00', '2026-11-29T14:32:00', 3, undefined],
  ])('from %s to %s', (from, to, most, labels) => {
    const ticks = timeTicks([at(from), at(to)], most);
    expect(ticks.length).toBeLessThanOrEqual(most + 1);
    for (const tick of ticks) expect(tick.at).toBeGreaterThanOrEqual(at(from));
    for (const tick of ticks) expect(tick.at).toBeLessThanOrEqual(at(to));
    if (labels) expect(ticks.map((tick) => tick.label).slice(-labels.length)).toEqual(labels);
  });
});

it.each([
  [[], 5, null],
  [[10], 5, 0],
  [[10, 20, 30], 14, 0],
  [[10, 20, 30], 16, 1],
  [[10, 20, 30], 99, 2],
  [[10, 20, 30], -9, 0],
])('the nearest of %j to %d', (times, moment, index) => expect(nearest(times, moment)).toBe(index));

it.each([
  ['ArrowLeft', null, 5, 4],
  ['ArrowRight', null, 5, 0],
  ['ArrowRight', 4, 5, 4],
  ['ArrowLeft', 0, 5, 0],
  ['Home', 3, 5, 0],
  ['End', null, 5, 4],
  ['PageDown', 30, 50, 20],
  ['x', 3, 5, null],
  ['End', 3, 0, null],
])('%s from %s of %d leads to %s', (key, from, count, to) => expect(stepTo(key, from, count)).toBe(to));

it('the axis is as long as its data, and a minute at least', () => {
  const times = (seconds: number) => Array.from({ length: seconds }, (_, index) => 1000 + index);
  expect(rangeOf(times(241), 900)).toEqual([1000, 1240]);
  expect(rangeOf(times(241), 86_400)).toEqual([1000, 1240]);
  expect(rangeOf(times(11), 900)).toEqual([950, 1010]);
  expect(rangeOf(times(2001), 900)).toEqual([2100, 3000]);
  expect(rangeOf([], 900, 5000)).toEqual([4940, 5000]);
});

it.each([
  [0, 1],
  [0.3, 0.3],
  [7, 8],
  [52, 60],
  [98, 100],
  [100, 100],
  [1.7e9, 2e9],
])('the top above %d is %d', (highest, top) => expect(roundTop(highest)).toBeCloseTo(top, 6));

const recovery: Notice = {
  ...{ id: 9, at: '', level: 'info', kind: 'server', title: 'Ollama is back', body: '', hint: null, server: 'ollama' },
  ...{ acts: [], own: false },
};

describe('marks on the gauges', () => {
  it('are switches that were made and servers that became ready since Pilothouse began', () => {
    const snapshot = snapshotOf('mac');
    const begun = Date.parse(snapshot.engine.started_at);
    const to = { server: 'ollama', model: 'llama3.1:8b' };
    const [made] = pastSwitches(snapshot, begun + 3_600_000);
    const switches = [
      { ...made!, to, took_ms: 2000 },
      { ...made!, to, outcome: 'rolled_back' as const },
    ];
    const servers = snapshot.servers.map((server, index) => ({
      ...server,
      // The first was ready already when Pilothouse looked, the second came later.
      since: new Date(begun + (index === 0 ? 2000 : 600_000)).toISOString(),
    }));
    const marks = marksOf(switches, [], { ...snapshot, servers });
    expect(marks.map((mark) => mark.words)).toEqual(['Ollama became ready', 'switch to Llama 3.1 8B Instruct']);
    expect(marks[1]?.at).toBe(Date.parse(made!.started_at) / 1000 + 2);
  });

  it('marks what is told twice at one moment once', () => {
    const snapshot = { ...snapshotOf(), servers: [] };
    const event = { id: 1, at: '2026-11-29T14:20:00Z', level: 'attention', kind: 'server', title: 'Ollama hung' };
    const told = { ...event, body: '', hint: null, server: 'ollama', acts: [], own: false } as Notice;
    const marks = marksOf([], [told, { ...told, id: 2 }, { ...told, id: 3, title: 'Ollama ended' }], snapshot);
    expect(marks.map((mark) => mark.words)).toEqual(['Ollama hung', 'Ollama ended']);
  });

  it('are all that was told of servers, each thing once', () => {
    const snapshot = snapshotOf('mac');
    const begun = Date.parse(snapshot.engine.started_at);
    const at = (seconds: number) => new Date(begun + seconds * 1000).toISOString();
    const told = (server: string, title: string, seconds: number, kind: Notice['kind'] = 'server'): Notice => ({
      ...{
        id: seconds,
        at: at(seconds),
        level: 'info',
        title,
        body: '',
        hint: null,
        server,
        kind,
        acts: [],
        own: false,
      },
    });
    const servers = snapshot.servers.map((server) => ({
      ...server,
      since: at(server.id === 'ollama' ? 599 : 2),
      state: server.id === 'ollama' ? ('ready' as const) : server.state,
    }));
    const events = [
      told('ollama', 'Ollama is back', 600),
      told('ollama', 'Ollama is back', 120),
      told('llama-server', 'llama-server hung', 300),
      told('ollama', 'Gemma 3 is active', 400, 'switch'),
    ];
    const words = (list: Notice[]) => marksOf([], list, { ...snapshot, servers }).map((mark) => mark.words);
    expect(words(events)).toEqual(['Ollama is back', 'llama-server hung', 'Ollama is back']);
    // Without what was told, the last moment is what the server itself says.
    expect(words([])).toEqual(['Ollama became ready']);
    // That another server came back says nothing of this one.
    expect(words([told('llama-server', 'llama-server is back', 600)])).toHaveLength(2);
  });

  it('are asked for again when a switch or a server has news, and missed by nobody who cannot have them', async () => {
    const backend = new ScriptedBackend();
    const store = new Store(backend, new TestVisibility());
    const snapshot = snapshotOf('ready');
    store.snapshot = snapshot;
    const marks = new Marks(store);
    const before = marks.cause;
    backend.answers.switches = () => unreachable;
    backend.answers.events = () => ({
      reply: 'events',
      events: [{ ...recovery, at: new Date().toISOString() }],
      total: 1,
    });
    await marks.load();
    expect(marks.all.at(-1)?.words).toBe('Ollama is back');
    expect(backend.of('events')).toEqual([{ call: 'events', kind: 'server', limit: 50 }]);
    store.snapshot = { ...snapshot, notices: [recovery] };
    expect(marks.cause).not.toBe(before);
  });
});

describe('an axis that is drawn', () => {
  // 900 s on 300 pixels: a pixel is 3 s.
  const drawn: [number, number] = [0, 900];
  it.each([
    ['less than a pixel on', [2, 902], 300, false],
    ['a pixel on', [3, 903], 300, true],
    ['less than a pixel on, of finer ones', [2, 902], 600, true],
    ['longer by a pixel', [0, 904], 300, true],
    ['back, because another past is shown', [-60, 840], 300, true],
    ['before its width is known', [1, 901], 0, true],
  ] as [string, [number, number], number, boolean][])('moves or stays: %s', (_, wanted, pixels, moves) => {
    expect(movedRange(drawn, wanted, pixels)).toBe(moves ? wanted : drawn);
  });

  it('never lags behind by a pixel, however small the steps', () => {
    let at = drawn;
    for (let last = 900; last < 1000; last += 0.2) {
      at = movedRange(at, [last - 900, last], 300);
      expect(last - at[1]).toBeLessThan(3);
    }
  });
});
