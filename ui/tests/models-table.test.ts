import { describe, expect, it } from 'vitest';
import type { ModelFacts } from '../src/api/ModelFacts';
import type { ModelView } from '../src/api/ModelView';
import { factsOf } from '../src/backend/fake/facts';
import { runs } from '../src/backend/fake/bench';
import {
  counts,
  heldOf,
  inHeldOrder,
  loadTime,
  shortList,
  stateOf,
  tableGroups,
  tableQueryOf,
  tableRows,
  tableViewOf,
  type SortKey,
  type TableView,
} from '../src/models-table';
import type { Query } from '../src/route.svelte';
import { instancesOf } from '../src/backend/fake/memory';
import { withStanding } from '../src/backend/fake/standing';
import { snapshotOf } from './support';

const many = () => {
  const snapshot = snapshotOf('many');
  const facts = factsOf(snapshot, runs('many', Date.now()), 'many', Date.now());
  return { snapshot, rows: tableRows(snapshot, new Map(facts.map((one) => [one.id, one])), null) };
};
const usual: TableView = { filter: '', show: 'all', sort: 'used', descending: true };

describe('the address of the table', () => {
  it.each([
    [{}, usual],
    [
      { sort: '-size', show: 'fits', filter: 'qwen 7b' },
      { ...usual, sort: 'size', show: 'fits', filter: 'qwen 7b' },
    ],
    [{ sort: 'load' }, { ...usual, sort: 'load', descending: false }],
    [{ sort: '-nonsense', show: 'nothing' }, usual],
    [{ sort: '' }, usual],
  ] as [Query, TableView][])('%j says what is shown, and back', (query, view) => {
    expect(tableViewOf(query)).toEqual(view);
    expect(tableViewOf(tableQueryOf(view))).toEqual(view);
  });

  it('holds only what is not as usual', () => {
    expect(tableQueryOf(usual)).toEqual({});
    expect(tableQueryOf({ ...usual, sort: 'size' })).toEqual({ sort: '-size' });
  });
});

describe('the order of rows', () => {
  it.each(['title', 'server', 'quant', 'size', 'needs', 'speed', 'load', 'used', 'state'] as SortKey[])(
    'by %s puts what is not known last, whichever way',
    (sort) => {
      const { rows } = many();
      const unknown = (row: (typeof rows)[number]) =>
        ({
          title: false,
          server: false,
          state: false,
          quant: row.model.quantization === null,
          size: row.model.size_bytes === null,
          needs: row.model.needed_bytes === null,
          speed: !row.facts?.speed && !row.facts?.forecast,
          load: row.load === null,
          used: !row.model.active && !row.facts?.last_used_at,
        })[sort];
      const orders = [true, false].map((descending) => tableGroups(rows, { ...usual, sort, descending }).disk);
      for (const order of orders) {
        const first = order.findIndex(unknown);
        expect(first === -1 ? [] : order.slice(first).filter((row) => !unknown(row))).toEqual([]);
      }
      expect(orders[0]?.map((row) => row.model.id)).not.toEqual(orders[1]?.map((row) => row.model.id));
    },
  );

  it('sorts numbers as numbers', () => {
    const { rows } = many();
    const sizes = tableGroups(rows, { ...usual, sort: 'size' }).disk.map((row) => row.model.size_bytes ?? 0);
    expect(sizes).toEqual([...sizes].sort((a, b) => b - a));
  });

  it('stands still while somebody points at it, also when a model is loaded meanwhile', () => {
    const { snapshot, rows } = many();
    const before = tableGroups(rows, usual);
    const held = heldOf(before);
    const id = before.disk[5]?.model.id;
    const loaded = snapshot.models.map((model) => (model.id === id ? { ...model, loaded: true } : model));
    const after = tableGroups(tableRows({ ...snapshot, models: loaded }, new Map(), null), usual);
    expect(after.memory.map((row) => row.model.id)).toContain(id);
    expect(heldOf(inHeldOrder(after, held))).toEqual(held);
    expect(heldOf(inHeldOrder(after, null))).toEqual(heldOf(after));
    // One that is gone leaves its place; a new one comes at the end.
    const fewer = tableGroups(rows.slice(1), usual);
    expect(inHeldOrder(fewer, held).disk.length + inHeldOrder(fewer, held).memory.length).toBe(rows.length - 1);
  });

  it('counts each kind', () => {
    const { rows } = many();
    const numbers = counts(rows);
    expect(numbers).toMatchObject({ all: rows.length, memory: 2, damaged: 1 });
    expect(numbers.fits).toBe(rows.filter(({ model }) => model.loaded || model.fits).length);
  });
});

describe('the short list of the panel', () => {
  it('begins with the active model, what is loading and what is in memory', () => {
    const { snapshot } = many();
    const loading = snapshot.models.find((model) => model.name === 'gemma3:4b')!;
    const rows = tableRows(snapshot, new Map(), { server: loading.server, model: loading.name });
    const { rows: short, more } = shortList(rows, '', 5);
    expect(short.map((row) => row.model.name).slice(0, 3)).toEqual([
      'qwen2.5-7b-instruct-mlx',
      'gemma3:4b',
      'qwen2.5:3b',
    ]);
    expect([short.length, more]).toEqual([5, rows.filter(({ model }) => model.purpose === 'llm').length - 5]);
  });

  it('finds the rest by the filter', () => {
    const { rows } = many();
    const { rows: short, more } = shortList(rows, 'command r', 5);
    expect(short.map((row) => row.model.title)).toEqual(['Command R 35B', 'Command R 35B']);
    expect(more).toBe(0);
  });
});

describe('what is told of a load', () => {
  const facts = (change: Partial<ModelFacts>): ModelFacts => ({
    id: 'a/b',
    speed: null,
    forecast: null,
    loads_ms: [],
    measured_loads: null,
    last_used_at: null,
    ...change,
  });
  const timed = {
    run_id: 7,
    at: '',
    kinds: [
      {
        from: 'page_cache' as const,
        loads: 5,
        load_s: { median: 2.5, low: 2, high: 3, n: 5, interval: 'range' as const, source: 'client' },
        ttft_cold_ms: null,
        ttft_warm_ms: null,
        bytes_s: null,
      },
    ],
  };
  it.each([
    ['nothing', facts({}), null],
    ['one', facts({ loads_ms: [900] }), { ms: 900, how: 'learned', n: 1, run: null }],
    ['three', facts({ loads_ms: [900, 100, 500] }), { ms: 500, how: 'learned', n: 3, run: null }],
    ['four', facts({ loads_ms: [900, 100, 500, 700] }), { ms: 600, how: 'learned', n: 4, run: null }],
    ['a run', facts({ measured_loads: timed }), { ms: 2500, how: 'measured', n: 5, run: 7 }],
    ['both', facts({ loads_ms: [900], measured_loads: timed }), { ms: 900, how: 'learned', n: 1, run: null }],
  ])('%s', (_, of, told) => expect(loadTime(of)).toEqual(told));
});

it.each([
  ['active', { active: true, loaded: true }, 'active', 'good'],
  ['in memory', { loaded: true }, 'in memory', 'idle'],
  ['on disk', { fits: true }, 'on disk', 'idle'],
  ['too large', { fits: false, needed_bytes: 90e9 }, /GB too much$/, 'attention'],
  ['damaged', { damaged: 'it is cut off', purpose: 'other' }, 'damaged', 'broken'],
] as [string, Partial<ModelView>, string | RegExp, string][])('a model that is %s says so', (_, change, word, tone) => {
  const snapshot = snapshotOf('many');
  const models = snapshot.models.map((one, index) => (index === 2 ? { ...one, ...change } : one));
  const active = change.active
    ? { server: models[2]!.server, model: models[2]!.name, instance: models[2]!.name }
    : null;
  const instances = instancesOf(
    models.filter((one) => one.loaded),
    Date.now(),
  );
  const told = withStanding({ ...snapshot, models, instances, active: active ?? snapshot.active });
  const state = stateOf(told.models[2]!, told);
  expect(state.word).toMatch(word);
  expect(state.tone).toBe(tone);
});

it('a model whose server is stopped says that a switch starts it, and one in its memory is not called good', () => {
  const snapshot = snapshotOf('many');
  const servers = snapshot.servers.map((one) => ({ ...one, state: 'stopped' as const }));
  const told = withStanding({ ...snapshot, servers });
  const active = told.models.find((one) => one.active);
  const disk = told.models.find((one) => !one.active && one.purpose === 'llm' && !one.damaged);
  expect(stateOf(disk!, told).word).toBe('starts its server');
  expect(stateOf(active!, told)).toMatchObject({ tone: 'idle', word: 'stopped' });
});
