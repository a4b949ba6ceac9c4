/** What a plan does and how long it takes, before it is begun. */
import type { Call } from '../api/Call';
import type { Run } from '../api/Run';
import type { WhenDisturbed } from '../api/WhenDisturbed';
import { modelId } from '../models';

export type PlanName = 'quick' | 'standard' | 'ab' | 'sweep';
export type BenchCall = Extract<Call, { call: 'bench' }>;

/** What a plan asks for, as the engine has it (`BenchPlan::named`). */
const shapes: Record<PlanName, { words: number; tokens: number; trials: number }> = {
  quick: { words: 64, tokens: 64, trials: 10 },
  standard: { words: 384, tokens: 128, trials: 10 },
  ab: { words: 64, tokens: 64, trials: 10 },
  sweep: { words: 64, tokens: 64, trials: 6 },
};

/** Whether a plan of a run is one that can be chosen: a row of history may have one of another version. */
export function benchable(name: string): name is PlanName {
  return name in shapes;
}

export const MOST_AT_A_TIME = 64;
const LEVELS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];
/** Requests of each worker at a level of a sweep. */
const ROUNDS = 4;
/** Warm-ups end when they are steady: two at the least. */
const WARMUPS = 2;

/** The steps of a sweep: doublings with steps between them, and the last. */
export function levelsTo(most: number): number[] {
  return [...LEVELS.filter((level) => level < most), most];
}

/** Seconds from and to which something takes; null: nothing is known. */
export type Estimate = { low: number; high: number } | null;

/** How long one request of a plan takes, from what the last run of that model showed. Seconds. */
export function requestSeconds(last: Run | null, plan: PlanName): number | null {
  if (last === null || last.sweep !== null) return null;
  const { words, tokens } = shapes[plan];
  if (last.e2e_ms !== null && last.plan.prompt_words === words && last.plan.max_tokens === tokens)
    return last.e2e_ms.median / 1000;
  if (last.decode_tok_s === null || last.ttft_ms === null || last.decode_tok_s.median <= 0) return null;
  const reading = (last.ttft_ms.median / 1000) * (words / Math.max(1, last.plan.prompt_words));
  return reading + tokens / last.decode_tok_s.median;
}

/**
 * How long a plan takes. Of a sweep it is not known whether answers under way at a time share the machine (then all of them take
 * as long as one after the other) or not (then each level takes as long as its rounds): both ends are told.
 */
export function estimate(plan: PlanName, last: Run | null, other: Run | null, upTo: number, trials?: number): Estimate {
  const one = requestSeconds(last, plan);
  if (one === null) return null;
  const n = trials ?? shapes[plan].trials;
  const warm = (run: Run | null) => Math.max(WARMUPS, run?.warmups ?? 0);
  if (plan === 'ab') {
    const second = requestSeconds(other, plan);
    if (second === null) return null;
    const all = one * (n + warm(last)) + second * (n + warm(other));
    return { low: all, high: all };
  }
  if (plan === 'sweep') {
    const levels = levelsTo(upTo);
    const requests = (level: number) => Math.max(n, level * ROUNDS);
    // One at a time once more at the end.
    const alone = one * (warm(last) + n);
    const low = levels.reduce((sum, level) => sum + (requests(level) / level) * one, alone);
    const high = levels.reduce((sum, level) => sum + requests(level) * one, alone);
    return { low, high };
  }
  const all = one * (n + warm(last));
  return { low: all, high: all };
}

/** The newest run of a model from which a time can be reckoned. */
export function lastOf(runs: Run[], server: string, model: string): Run | null {
  return (
    runs.find(
      (run) =>
        run.server === server &&
        run.model === model &&
        run.state === 'done' &&
        run.sweep === null &&
        run.decode_tok_s !== null,
    ) ?? null
  );
}

/** The call that does a run again, with everything it was asked with. `other`: the other side of a comparison. */
export function againCall(run: Run, other: Run | null): BenchCall {
  const plan = other === null ? run.plan.name : 'ab';
  const call: BenchCall = {
    call: 'bench',
    model: modelId(run),
    server: run.server,
    plan,
    trials: run.plan.trials,
    when_disturbed: run.plan.when_disturbed,
    quiet_wait_s: run.plan.quiet_wait_s,
  };
  if (other !== null) call.against = { model: modelId(other), server: other.server };
  const most = Math.max(...run.plan.concurrency);
  if (plan === 'sweep') {
    call.up_to = most;
    if (run.plan.slo_ms !== null) call.slo_ms = run.plan.slo_ms;
  }
  return call;
}

/** What is chosen in the picker. */
export interface Choice {
  /** `<server>/<name>`; empty: the active model. */
  model: string;
  server: string | null;
  plan: PlanName;
  other: string;
  otherServer: string | null;
  upTo: number;
  whenDisturbed: WhenDisturbed;
}

/** The call of a choice; null while something is missing. */
export function callOf(choice: Choice): BenchCall | null {
  const call: BenchCall = { call: 'bench', plan: choice.plan, when_disturbed: choice.whenDisturbed };
  if (choice.model !== '' && choice.server !== null)
    Object.assign(call, { model: choice.model, server: choice.server });
  if (choice.plan === 'sweep') {
    if (!Number.isInteger(choice.upTo) || choice.upTo < 1 || choice.upTo > MOST_AT_A_TIME) return null;
    call.up_to = choice.upTo;
  }
  if (choice.plan === 'ab') {
    if (choice.other === '' || choice.otherServer === null) return null;
    call.against = { model: choice.other, server: choice.otherServer };
  }
  return call;
}
