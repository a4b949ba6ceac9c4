/** What one sees of a simulated run while it measures: for development and tests, never in a production build. */
import type { BenchProgress } from '../../api/BenchProgress';
import type { Run } from '../../api/Run';
import { compiler, pair, planOf, run, sweepRun } from './bench';

export interface BenchStep {
  /** Whether the second side of a comparison is asked. */
  onB: boolean;
  progress: Omit<BenchProgress, 'run_id' | 'server' | 'model'>;
}

/** The states that one sees of a run, in their order. */
export function benchSteps(plan: string, total: number, levels: number[], disturbed: boolean): BenchStep[] {
  const step = (onB: boolean, more: Partial<BenchStep['progress']>): BenchStep => ({
    onB,
    progress: {
      phase: 'measured',
      done: 0,
      total,
      last_decode_tok_s: null,
      block: null,
      concurrency: null,
      turn: null,
      noise: false,
      waits_for: [],
      left_s: null,
      ...more,
    },
  });
  // Longer than a page on a busy machine may take until it looks again.
  const waits = Array.from({ length: 16 }, () => step(false, { phase: 'warmup', waits_for: [compiler] }));
  const waiting = disturbed ? waits : [];
  const warmups = [1, 2].map((done) => step(false, { phase: 'warmup', done, total: 6 }));
  if (plan === 'sweep') return [...waiting, ...warmups, ...levels.flatMap((concurrency) => atLevel(concurrency, step))];
  const measured = Array.from({ length: total }, (_, k) => {
    const last_decode_tok_s = k > 0 ? 104 + k : null;
    const one = { done: k, last_decode_tok_s, left_s: (total - k) * 1.4 };
    if (plan !== 'ab') return [step(false, one)];
    const block: [number, number] = [k + 1, total];
    return [step(false, { ...one, block }), step(true, { ...one, block, last_decode_tok_s: 122 + (k % 3) })];
  });
  return [...waiting, ...warmups, ...measured.flat()];
}

function atLevel(concurrency: number, step: (onB: boolean, more: Partial<BenchStep['progress']>) => BenchStep) {
  const total = concurrency * 4;
  return [1, 2, 3].map((part) =>
    step(false, { done: (total * part) / 4, total, concurrency, last_decode_tok_s: 90 / concurrency ** 0.4 + part }),
  );
}

export function finishedRuns(
  id: number,
  plan: string,
  target: { server: string; name: string },
  total: number,
  levels: number[],
): Run[] {
  if (plan === 'ab') return pair(id, Date.now(), total);
  if (plan === 'sweep') return [sweepRun(id, Date.now(), levels)];
  const finished = run(id, Date.now(), target.server, target.name, 106, total);
  finished.plan = planOf(plan, total);
  return [finished];
}
