/** Requests of programs: invented, where the simulated person works with roles; elsewhere nobody has asked yet. */
import type { Call } from '../../api/Call';
import type { Reply } from '../../api/Reply';
import type { RequestRecord } from '../../api/RequestRecord';
import type { TallyView } from '../../api/TallyView';
import type { TrafficFilter } from '../../api/TrafficFilter';
import type { TrafficNow } from '../../api/TrafficNow';
import { fault } from './fault';
import { hasRoles, type Scene } from './scene-names';
import { endedRequests, liveRequests, MANY } from './traffic-records';

export const quiet: TrafficNow = {
  in_flight: 0,
  waiting: 0,
  loading: 0,
  answering: 0,
  tok_s: null,
  live: [],
  left_out: 0,
  lost: 0,
};

type TrafficCall = Extract<Call, { call: 'traffic' | 'traffic_record' | 'traffic_totals' }>;
const STEP_MS = 5000;

export class FakeTraffic {
  readonly #began = Date.now();
  readonly #ended: RequestRecord[];
  readonly #hard: boolean;
  readonly #asks: boolean;
  /** What tests add. */
  readonly added: RequestRecord[] = [];

  constructor(scene: Scene) {
    this.#hard = scene === 'names';
    this.#asks = hasRoles(scene);
    this.#ended = this.#asks ? endedRequests(this.#began, this.#hard) : [];
  }

  /** One more that has ended just now; it is like the newest of them otherwise. */
  end(change: Partial<RequestRecord> = {}): RequestRecord {
    const [like] = [...this.#ended];
    if (like === undefined) throw new Error('nobody asks in this scene');
    const id = MANY + 100 + this.added.length;
    const record = { ...like, id, at: new Date().toISOString(), ...change };
    this.added.unshift(record);
    return record;
  }

  now(now: number): TrafficNow {
    if (!this.#asks) return quiet;
    const live = liveRequests(this.#began, now, this.#hard);
    const of = (state: RequestRecord['state']) => live.filter((one) => one.state === state).length;
    return {
      in_flight: live.length,
      waiting: of('waiting'),
      loading: of('loading'),
      answering: of('answering'),
      tok_s: 126 + 4 * Math.sin(now / 3000),
      live,
      left_out: 0,
      lost: this.#hard ? 3 : 0,
    };
  }

  answer(call: TrafficCall, now: number): Reply {
    const all = [...this.added, ...this.now(now).live, ...this.#ended];
    switch (call.call) {
      case 'traffic': {
        const found = all.filter((one) => lets(call.filter, one));
        const limit = call.filter.limit ?? 50;
        return { reply: 'traffic', requests: found.slice(0, limit), more: found.length > limit };
      }
      case 'traffic_record': {
        const record = all.find((one) => one.id === call.id);
        if (!record)
          throw fault('not_found', `No request ${call.id} is kept.`, '“pilothouse traffic” lists those that are.');
        return { reply: 'traffic_record', record };
      }
      case 'traffic_totals':
        return this.#totals(now, call.span_s ?? 3600);
    }
  }

  #totals(now: number, span_s: number): Reply {
    const until = new Date(now).toISOString();
    const since = new Date(now - span_s * 1000).toISOString();
    const ended = [...this.added, ...this.#ended].filter((one) => Date.parse(one.at) >= now - span_s * 1000);
    const groups = (name: (one: RequestRecord) => string | null) => {
      const found = new Map<string, RequestRecord[]>();
      for (const one of ended) {
        const key = name(one);
        if (key !== null) found.set(key, [...(found.get(key) ?? []), one]);
      }
      return [...found].sort(([, a], [, b]) => b.length - a.length);
    };
    const clients = groups((one) => one.client.key ?? one.client.program ?? 'unknown').map(([client, of]) => ({
      client,
      ...tallyOf(of),
    }));
    const models = groups((one) => one.model && `${one.server} ${one.model}`).map(([, of]) => ({
      server: of[0]?.server ?? '',
      model: of[0]?.model ?? '',
      ...tallyOf(of),
    }));
    return {
      reply: 'traffic_totals',
      totals: { since, until, all: tallyOf(ended), clients, models, lost: this.#hard ? 3 : 0 },
      rates: { step_ms: STEP_MS, until, tok_s: this.#asks ? ratesUntil(now) : [] },
    };
  }
}

/** Bursts, as programs ask. */
function ratesUntil(now: number): number[] {
  const last = Math.floor(now / STEP_MS);
  return Array.from({ length: 180 }, (_, index) => {
    const step = last - 179 + index;
    const burst = Math.sin(step / 11) + Math.sin(step / 4.7);
    return burst <= 0 ? 0 : Math.round(70 + 45 * burst + (step % 7));
  });
}

function lets(filter: TrafficFilter, one: RequestRecord): boolean {
  const underWay = ['waiting', 'loading', 'answering'].includes(one.state);
  const states = { under_way: underWay, failed: one.state === 'failed' || one.state === 'cut' } as const;
  const state = filter.state;
  const client = one.client.key ?? one.client.program ?? 'unknown';
  const find = filter.find?.toLocaleLowerCase();
  const names = [client, one.client.program, one.model, one.asked].join('\n').toLocaleLowerCase();
  return (
    (filter.client === undefined || filter.client === client) &&
    (filter.server === undefined || filter.server === one.server) &&
    (filter.model === undefined || filter.model === one.model) &&
    (state === undefined || (state in states ? states[state as keyof typeof states] : one.state === state)) &&
    (filter.slower_than_ms === undefined || (one.ttft_ms ?? 0) >= filter.slower_than_ms) &&
    (find === undefined || names.includes(find)) &&
    (filter.before === undefined || one.id < filter.before)
  );
}

function tallyOf(of: RequestRecord[]): TallyView {
  const known = (value: (one: RequestRecord) => number | null) => of.map(value).filter((one) => one !== null);
  const sum = (values: number[]) => (values.length === 0 ? null : values.reduce((all, one) => all + one, 0));
  const quantile = (values: number[], at: number) =>
    [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * at))] ?? null;
  const first = known((one) => one.ttft_ms);
  return {
    requests: of.length,
    failed: of.filter((one) => one.state === 'failed' || one.state === 'cut').length,
    cancelled: of.filter((one) => one.state === 'cancelled').length,
    tokens_in: sum(known((one) => one.tokens.input)),
    tokens_cached: sum(known((one) => one.tokens.cached)),
    tokens_out: sum(known((one) => one.tokens.output)),
    estimated: of.filter((one) => one.tokens.output !== null && !one.tokens.counted).length,
    ttft_ms: quantile(first, 0.5),
    ttft_p95_ms: quantile(first, 0.95),
    decode_tok_s: quantile(
      known((one) => one.decode_tok_s),
      0.5,
    ),
  };
}
