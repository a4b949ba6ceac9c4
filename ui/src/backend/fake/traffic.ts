/** Requests of programs: nobody has asked the simulated engine yet. */
import type { Call } from '../../api/Call';
import type { Reply } from '../../api/Reply';
import type { TallyView } from '../../api/TallyView';
import type { TrafficNow } from '../../api/TrafficNow';
import { fault } from './fault';

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

const none: TallyView = {
  requests: 0,
  failed: 0,
  cancelled: 0,
  tokens_in: null,
  tokens_cached: null,
  tokens_out: null,
  estimated: 0,
  ttft_ms: null,
  ttft_p95_ms: null,
  decode_tok_s: null,
};

type TrafficCall = Extract<Call, { call: 'traffic' | 'traffic_record' | 'traffic_totals' }>;

export function trafficOf(call: TrafficCall, now: number): Reply {
  switch (call.call) {
    case 'traffic':
      return { reply: 'traffic', requests: [], more: false };
    case 'traffic_record':
      throw fault('not_found', `No request ${call.id} is kept.`, '“pilothouse traffic” lists those that are.');
    case 'traffic_totals': {
      const until = new Date(now).toISOString();
      const since = new Date(now - (call.span_s ?? 3600) * 1000).toISOString();
      return {
        reply: 'traffic_totals',
        totals: { since, until, all: none, clients: [], models: [], lost: 0 },
        rates: { step_ms: 1000, until, tok_s: [] },
      };
    }
  }
}
