/** Pure questions about requests of programs: what the page's address says, where the time went, what a row shows. */
import type { Call } from './api/Call';
import type { Client } from './api/Client';
import type { RequestRecord } from './api/RequestRecord';
import type { RequestState } from './api/RequestState';
import type { TokenRates } from './api/TokenRates';
import type { Tokens } from './api/Tokens';
import type { TrafficFilter } from './api/TrafficFilter';
import { duration, percent, whole } from './format';
import { spans, type PlotData, type Span } from './series';
import type { Query } from './route.svelte';

/** Few enough that the totals below are a glance away. */
export const PAGE = 25;
/** A first token that takes so long makes a request slow: twice what people wait without losing their thread. */
export const SLOW_MS = 2000;

export const shows = ['all', 'under_way', 'done', 'slow', 'failed', 'cancelled'] as const;
export type Show = (typeof shows)[number];

/** What is chosen on the page. Empty: all. */
export interface TrafficView {
  find: string;
  client: string;
  /** `server/name`. */
  model: string;
  show: Show;
  /** Only requests with a lesser number: a page behind the newest. */
  before: number | null;
  /** How far back the sums reach. */
  span: Span;
}

/** What an address says; what it cannot mean is as if it were not there. */
export function trafficViewOf(query: Query): TrafficView {
  const before = Number(query.before);
  return {
    find: query.find ?? '',
    client: query.client ?? '',
    model: query.model?.includes('/') ? query.model : '',
    show: shows.find((one) => one === query.show) ?? 'all',
    before: Number.isSafeInteger(before) && before > 0 ? before : null,
    span: query.span !== undefined && Object.hasOwn(spans, query.span) ? (query.span as Span) : '1h',
  };
}

/** The same as an address has it: only what is not as usual. */
export function trafficQueryOf(view: TrafficView): Query {
  const query: Query = {};
  for (const key of ['find', 'client', 'model'] as const) if (view[key] !== '') query[key] = view[key];
  if (view.show !== 'all') query.show = view.show;
  if (view.before !== null) query.before = String(view.before);
  if (view.span !== '1h') query.span = view.span;
  return query;
}

/** Whether every request is let through. */
export const isUnfiltered = (view: TrafficView): boolean =>
  view.find === '' && view.client === '' && view.model === '' && view.show === 'all';

export function trafficCallOf(view: TrafficView): Extract<Call, { call: 'traffic' }> {
  const filter: TrafficFilter = { limit: PAGE };
  // A server's id has no slash; a model's name may.
  const slash = view.model.indexOf('/');
  if (view.find.trim() !== '') filter.find = view.find.trim();
  if (view.client !== '') filter.client = view.client;
  if (slash > 0) {
    filter.server = view.model.slice(0, slash);
    filter.model = view.model.slice(slash + 1);
  }
  if (view.show === 'slow') filter.slower_than_ms = SLOW_MS;
  else if (view.show !== 'all') filter.state = view.show;
  if (view.before !== null) filter.before = view.before;
  return { call: 'traffic', filter };
}

const UNDER_WAY: readonly RequestState[] = ['waiting', 'loading', 'answering'];
export const isUnderWay = (record: RequestRecord): boolean => UNDER_WAY.includes(record.state);

/** What a client is counted under, as the engine does it; null: nobody can tell. */
export const clientName = (client: Client): string | null => client.key ?? client.program;

/** With what is newer of each from the snapshot, which comes more often than lists do. */
export function withLive(records: RequestRecord[], live: RequestRecord[]): RequestRecord[] {
  const news = new Map(live.map((one) => [one.id, one]));
  return records.map((one) => (isUnderWay(one) ? (news.get(one.id) ?? one) : one));
}

/** The rows of a list that is held still: those that are there, each as it is now, and how many newer ones wait. */
export function heldStill(shown: RequestRecord[], fresh: RequestRecord[]): { rows: RequestRecord[]; newer: number } {
  const news = new Map(fresh.map((one) => [one.id, one]));
  const newest = shown.reduce((most, one) => Math.max(most, one.id), 0);
  return {
    rows: shown.map((one) => news.get(one.id) ?? one),
    newer: fresh.filter((one) => one.id > newest).length,
  };
}

/** How long a request has been going by the engine's clock, in milliseconds. */
export const elapsed = (record: RequestRecord, engineTime: number): number =>
  record.total_ms ?? Math.max(0, engineTime - Date.parse(record.at));

/** `whole`: no first token was seen, so what came after the waits cannot be parted. */
export type PartKey = 'queue' | 'load' | 'prefill' | 'decode' | 'whole';
export interface TimePart {
  key: PartKey;
  /** Null: not told. */
  ms: number | null;
  /** It goes on. */
  live: boolean;
}

/** Where the time of a request went, in the order in which it did; the parts add up to `elapsed`. */
export function timeParts(record: RequestRecord, engineTime: number): TimePart[] {
  const total = elapsed(record, engineTime);
  const { state, ttft_ms } = record;
  const part = (key: PartKey, ms: number | null, live = false): TimePart => ({ key, ms, live });
  const queue = part('queue', record.queued_ms, state === 'waiting');
  const load = part('load', record.load_ms, state === 'loading');
  if (queue.live) queue.ms = total - (load.ms ?? 0);
  if (load.live) load.ms = total - (queue.ms ?? 0);
  const waited = (queue.ms ?? 0) + (load.ms ?? 0);
  if (state === 'waiting' || state === 'loading') return [queue, load];
  if (ttft_ms !== null)
    return [
      queue,
      load,
      part('prefill', Math.max(0, ttft_ms - waited)),
      part('decode', Math.max(0, total - ttft_ms), isUnderWay(record)),
    ];
  return [queue, load, part(isUnderWay(record) ? 'prefill' : 'whole', Math.max(0, total - waited), isUnderWay(record))];
}

/** How much of the longest answer that the client wants is there, 0 to 1; null: not told. */
export function shareOut(record: RequestRecord): number | null {
  const { most_output: most, tokens } = record;
  if (record.state !== 'answering' || most === null || most <= 0 || tokens.output === null) return null;
  return Math.min(1, tokens.output / most);
}

/** A time of a record: it is told in whole milliseconds, so that a tenth would be made up. */
export const timeText = (ms: number): string => (ms < 999.5 ? `${Math.round(ms)}\u00a0ms` : duration(ms));

/** A time that goes on, without figures that only flicker. */
export const liveTimeText = (ms: number): string => timeText(ms < 1000 ? ms : Math.round(ms / 100) * 100);

/** A count that is an estimate looks like one, as on the command line: "~143". */
export function tokenText(count: number | null, tokens: Pick<Tokens, 'counted'>): string | null {
  return count === null ? null : `${tokens.counted ? '' : '~'}${whole(count)}`;
}

/** "88 %" of the prompts came from a cache; null: not told. */
export function cachedShare(tally: { tokens_in: number | null; tokens_cached: number | null }): string | null {
  if (tally.tokens_cached === null || !tally.tokens_in) return null;
  return percent(Math.round((100 * tally.tokens_cached) / tally.tokens_in));
}

/** The rates as a line of time. */
export function rateData(rates: TokenRates): PlotData {
  const until = Date.parse(rates.until);
  const none = new Array<null>(rates.tok_s.length).fill(null);
  const seconds = rates.tok_s.map((_, index) => (until - (rates.tok_s.length - 1 - index) * rates.step_ms) / 1000);
  return [seconds, rates.tok_s, none, none];
}
