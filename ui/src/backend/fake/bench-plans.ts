/** Simulated runs of plans with a result of their own: for development and tests, never in a production build. */
import type { Conversation } from '../../api/Conversation';
import type { OpenLoop } from '../../api/OpenLoop';
import type { Percentiles } from '../../api/Percentiles';
import type { Run } from '../../api/Run';
import type { Summary } from '../../api/Summary';
import { planOf, run } from './bench';

function spread(p50: number, n: number, tail = 1.4): Percentiles {
  return { n, p5: p50 * 0.9, p50, p95: p50 * tail, p99: p50 * tail * 1.2, greatest: p50 * tail * 1.5 };
}

/** A server that once stood still for a second. */
export function openLoopOf(requests: number): OpenLoop {
  const seen: Percentiles = { n: requests, p5: 40, p50: 45, p95: 120, p99: 812, greatest: 1043 };
  const waiting = Math.round(requests * 0.9);
  return {
    planned: requests,
    sent: requests,
    failed: 0,
    late: 0,
    most_late_ms: 2,
    capped: false,
    from_due: { ttft_ms: seen, e2e_ms: { ...seen, p50: 690, p95: 760, p99: 1460, greatest: 1690 } },
    from_sent: { ttft_ms: seen, e2e_ms: { ...seen, p50: 690, p95: 760, p99: 1460, greatest: 1690 } },
    waiting: { ttft_ms: spread(45, waiting, 1.1), e2e_ms: spread(690, waiting, 1.05) },
    waiting_requests: waiting,
    hidden_ms: 752.6,
    words:
      '99 of 100 first tokens came within 812 ms of the planned moment. A client that waits for each answer would have ' +
      `sent ${waiting} of these ${requests} requests and seen 59 ms: 753 ms are hidden from it.`,
  };
}

function of(median: number): Summary {
  return { median, low: median * 0.97, high: median * 1.04, n: 3, interval: 'range', source: 'client' };
}

/** A server that keeps the beginning, and reads a thousand tokens by the second. */
export function conversationOf(turns: number): Conversation {
  return {
    turns: Array.from({ length: turns }, (_, index) => {
      const turn = index + 1;
      const [cached, cold] = [60 + 340, 60 + 340 * turn];
      return {
        turn,
        prompt_tokens: 340 * turn,
        cached_tokens: 340 * index,
        ttft_cached_ms: of(cached),
        ttft_cold_ms: of(cold),
        saved: 1 - cached / cold,
      };
    }),
    reuse: 'kept',
    words:
      'The server keeps the beginning of a conversation (the server says so): at turn ' +
      `${turns} the first token came after 400 ms instead of ${60 + 340 * turns} ms.`,
  };
}

/** A finished run of one of these plans; null: it is of another. */
export function planRun(
  id: number,
  target: { server: string; name: string },
  call: { plan?: string; rate_per_s?: number; seconds?: number; turns?: number; replay?: string },
): Run | null {
  const one = run(id, Date.now(), target.server, target.name, 106, 10);
  if (call.plan === 'open') {
    const arrivals = {
      rate_per_s: call.rate_per_s ?? 1,
      seconds: call.seconds ?? 60,
      pattern: 'poisson',
      seed: 7,
    } as const;
    const requests = Math.round(arrivals.rate_per_s * arrivals.seconds);
    one.plan = { ...planOf('open', requests), arrivals };
    one.open_loop = openLoopOf(requests);
  } else if (call.plan === 'agent') {
    const turns = call.turns ?? 6;
    one.plan = { ...planOf('agent', 3), prompt_words: 200, max_tokens: 32, turns };
    one.conversation = conversationOf(turns);
  } else if (call.plan === 'replay') {
    const prompts = (call.replay ?? '').trim().split('\n').length;
    one.plan = { ...planOf('replay', prompts), replay: { prompts, digest: 'a3f1'.repeat(16) } };
    one.replay = {
      answered: prompts,
      failed: 0,
      ttft_ms: spread(180, prompts, 3),
      decode_tok_s: spread(106, prompts, 1.05),
      e2e_ms: spread(900, prompts, 2.5),
      prompt_tokens: spread(210, prompts, 4),
      output_tokens: spread(88, prompts, 1.45),
    };
  } else return null;
  return one;
}
