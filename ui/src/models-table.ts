/** Pure questions about the table of models: what an address shows, which rows, in which order. */
import type { ModelFacts } from './api/ModelFacts';
import type { ModelRef } from './api/ModelRef';
import type { ModelView } from './api/ModelView';
import type { Snapshot } from './api/Snapshot';
import type { Switching } from './api/Switching';
import { excess } from './memory';
import { matches, serverTitle } from './models';
import type { Query } from './route.svelte';
import type { Tone } from './text';
import { models as words } from './text';

export type Show = keyof typeof words.shows;
export const shows = Object.keys(words.shows) as Show[];

export type SortKey = keyof typeof words.columns;
export const sortKeys = Object.keys(words.columns) as SortKey[];

/** What is chosen on the page. */
export interface TableView {
  filter: string;
  show: Show;
  sort: SortKey;
  descending: boolean;
}

/** What a first click on a column's head shows first: names from A, times from the shortest, the rest from the most. */
export function descendsFirst(key: SortKey): boolean {
  return !['title', 'server', 'quant', 'load', 'state'].includes(key);
}

/** What an address says; what it cannot mean is as if it were not there. */
export function tableViewOf(query: Query): TableView {
  const [, minus, name] = /^(-?)(\w+)$/.exec(query.sort ?? '') ?? [];
  const sort = sortKeys.find((key) => key === name);
  return {
    filter: query.filter ?? '',
    show: shows.find((show) => show === query.show) ?? 'all',
    sort: sort ?? 'used',
    descending: sort === undefined ? true : minus === '-',
  };
}

/** The same as an address has it: only what is not as usual. */
export function tableQueryOf(view: TableView): Query {
  const query: Query = {};
  if (view.filter.trim() !== '') query.filter = view.filter;
  if (view.show !== 'all') query.show = view.show;
  if (view.sort !== 'used' || !view.descending) query.sort = `${view.descending ? '-' : ''}${view.sort}`;
  return query;
}

/** How long a load takes, and how that is known. */
export interface LoadTime {
  ms: number;
  /** `learned`: the median of so many switches here; `measured`: of a run that timed loads. */
  how: 'learned' | 'measured';
  n: number;
  run: number | null;
}

/** The loads of switches, else those that a run timed with the file in the page cache; null: none is known. */
export function loadTime(facts: ModelFacts | undefined): LoadTime | null {
  if (facts === undefined) return null;
  const sorted = [...facts.loads_ms].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const [below, above] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]];
  if (below !== undefined && above !== undefined)
    return { ms: (below + above) / 2, how: 'learned', n: sorted.length, run: null };
  const timed = facts.measured_loads?.kinds.find((kind) => kind.load_s !== null);
  if (!timed?.load_s || !facts.measured_loads) return null;
  return { ms: timed.load_s.median * 1000, how: 'measured', n: timed.loads, run: facts.measured_loads.run_id };
}

/** What a row of the table is about. */
export interface TableRow {
  model: ModelView;
  server: string;
  facts: ModelFacts | undefined;
  load: LoadTime | null;
  /** Asked for, whether or not the engine has said anything of it yet. */
  asked: boolean;
  switching: Switching | null;
}

export function tableRows(
  snapshot: Snapshot,
  facts: ReadonlyMap<string, ModelFacts>,
  requested: ModelRef | null,
): TableRow[] {
  const is = (model: ModelView, ref: ModelRef | null | undefined) =>
    ref?.server === model.server && ref.model === model.name;
  return snapshot.models.map((model) => {
    const switching = is(model, snapshot.switching?.to) ? snapshot.switching : null;
    const known = facts.get(model.id);
    return {
      model,
      server: serverTitle(snapshot.servers, model.server),
      facts: known,
      load: loadTime(known),
      asked: switching !== null || is(model, requested),
      switching,
    };
  });
}

export const inMemory = ({ model, asked }: TableRow): boolean => model.loaded || model.active || asked;

/** Whether it could be loaded beside everything else, or is there already; what is not known does not count. */
export const fitsNow = ({ model }: TableRow): boolean => model.loaded || model.active || model.fits === true;

export function isShown(row: TableRow, show: Show): boolean {
  if (show === 'memory') return inMemory(row);
  if (show === 'fits') return fitsNow(row);
  return show === 'all' || Boolean(row.model.damaged);
}

export function counts(rows: TableRow[]): Record<Show, number> {
  const of = (show: Show) => rows.filter((row) => isShown(row, show)).length;
  return { all: rows.length, memory: of('memory'), fits: of('fits'), damaged: of('damaged') };
}

/** What is sorted by; null goes to the end, however it is sorted. */
function valueOf(row: TableRow, key: SortKey): string | number | null {
  const { model, facts } = row;
  switch (key) {
    case 'title':
      return model.title;
    case 'server':
      return row.server;
    case 'quant':
      return model.quantization;
    case 'size':
      return model.size_bytes;
    case 'needs':
      return model.needed_bytes;
    case 'speed':
      return facts?.speed?.decode_tok_s.median ?? facts?.forecast?.decode_tok_s ?? null;
    case 'load':
      return row.load?.ms ?? null;
    case 'used':
      return model.active ? Infinity : facts?.last_used_at ? Date.parse(facts.last_used_at) : null;
    case 'state':
      return rank(row);
  }
}

function rank({ model, asked }: TableRow): number {
  if (model.damaged) return 5;
  if (model.active) return 0;
  if (asked) return 1;
  if (model.loaded) return 2;
  return model.fits === false ? 4 : 3;
}

function compare(a: TableRow, b: TableRow, { sort, descending }: TableView): number {
  const [x, y] = [valueOf(a, sort), valueOf(b, sort)];
  const names = () => a.model.title.localeCompare(b.model.title) || a.model.id.localeCompare(b.model.id);
  if (x === y) return names();
  if (x === null) return 1;
  if (y === null) return -1;
  const order = typeof x === 'string' ? x.localeCompare(String(y)) : x - Number(y);
  return (descending ? -order : order) || names();
}

export interface TableGroups {
  memory: TableRow[];
  disk: TableRow[];
}

/** What the table shows: filtered, sorted, in two groups. */
export function tableGroups(rows: TableRow[], view: TableView): TableGroups {
  const shown = rows
    .filter((row) => isShown(row, view.show) && matches(row.model, row.server, view.filter.trim()))
    .sort((a, b) => compare(a, b, view));
  return { memory: shown.filter(inMemory), disk: shown.filter((row) => !inMemory(row)) };
}

/** What the panel has room for: the active model, what is being loaded, what is in memory, then what was used last; or what the
 * filter finds. `more`: how many others there are. */
export function shortList(rows: TableRow[], filter: string, most: number): { rows: TableRow[]; more: number } {
  const text = filter.trim();
  const wanted = rows.filter(
    (row) => row.model.purpose === 'llm' && !row.model.damaged && matches(row.model, row.server, text),
  );
  const used = (row: TableRow) => valueOf(row, 'used') ?? 0;
  wanted.sort((a, b) => {
    const first = Math.min(rank(a), 3) - Math.min(rank(b), 3);
    const names = a.model.title.localeCompare(b.model.title) || a.model.id.localeCompare(b.model.id);
    const recent = used(a) === used(b) ? 0 : Number(used(b)) - Number(used(a));
    return first || recent || names;
  });
  return { rows: wanted.slice(0, most), more: Math.max(0, wanted.length - most) };
}

/** The order of ids by group, as it is held while somebody points at the table. */
export type Held = Record<keyof TableGroups, string[]>;

export function heldOf({ memory, disk }: TableGroups): Held {
  const ids = (rows: TableRow[]) => rows.map((row) => row.model.id);
  return { memory: ids(memory), disk: ids(disk) };
}

/** The same rows where they stood: nothing moves under the pointer. What is new comes at the end of its group. */
export function inHeldOrder(groups: TableGroups, held: Held | null): TableGroups {
  if (held === null) return groups;
  const all = new Map([...groups.memory, ...groups.disk].map((row) => [row.model.id, row]));
  const stood = new Set([...held.memory, ...held.disk]);
  const place = (group: keyof TableGroups) => [
    ...held[group].map((id) => all.get(id)).filter((row) => row !== undefined),
    ...groups[group].filter((row) => !stood.has(row.model.id)),
  ];
  return { memory: place('memory'), disk: place('disk') };
}

/** Whether a server takes any settings of a model's own with a load. */
export function takesSettings(snapshot: Snapshot, server: string): boolean {
  const takes = snapshot.servers.find((one) => one.id === server)?.abilities.loads_with;
  return takes !== undefined && (takes.context || takes.parallel || takes.kv_type);
}

/** Whether a click makes it the active model, or makes that answer again. */
export const canSwitch = (model: ModelView): boolean =>
  ['switch', 'load', 'start_and_load'].includes(model.standing.act);

export interface RowState {
  tone: Tone;
  word: string;
  /** A second line, or what stands behind the word. */
  more: string | null;
}

/** The state of a model that is not being loaded, in a word: what the engine says of it, with the figures of this page. */
export function stateOf(model: ModelView, snapshot: Snapshot): RowState {
  const { holds, tone, word, reason, act } = model.standing;
  if (holds === 'loaded' || (holds === 'other' && model.loaded)) return { tone, word: words.loaded, more: reason };
  if (holds === 'does_not_fit') {
    const more = excess(model, snapshot.ledger);
    return { tone, word: more === null ? words.doesNotFit : words.tooMuch(more), more: reason };
  }
  if (act === 'start_and_load' && !model.active) return { tone, word: words.startsServer, more: reason };
  return { tone, word, more: reason };
}

/** What the models in memory hold, or one of them, as the ledger tells it; null: it tells nothing. */
export function heldByModels(snapshot: Snapshot, only?: ModelView): number | null {
  const tenants = snapshot.ledger?.pools.flatMap((pool) => pool.tenants) ?? [];
  const held = tenants.filter(({ server, model }) =>
    only === undefined ? model !== null : server === only.server && model === only.name,
  );
  return held.length === 0 ? null : held.reduce((sum, one) => sum + one.bytes, 0);
}
