/** What a plan does and how long it takes, before it is begun. */
import type { BenchPlan } from '../api/BenchPlan';
import type { Call } from '../api/Call';
import type { Run } from '../api/Run';
import type { WhenDisturbed } from '../api/WhenDisturbed';
import { modelId } from '../models';

export type PlanName = 'quick' | 'standard' | 'ab' | 'sweep' | 'load' | 'copies' | 'open' | 'agent' | 'replay';
export type BenchCall = Extract<Call, { call: 'bench' }>;

/** What a plan asks for, as the engine has it (`BenchPlan::named`). */
const shapes: Record<PlanName, { words: number; tokens: number; trials: number }> = {
  quick: { words: 64, tokens: 64, trials: 10 },
  standard: { words: 384, tokens: 128, trials: 10 },
  ab: { words: 64, tokens: 64, trials: 10 },
  sweep: { words: 64, tokens: 64, trials: 6 },
  open: { words: 64, tokens: 64, trials: 0 },
  agent: { words: 200, tokens: 32, trials: 3 },
  replay: { words: 64, tokens: 128, trials: 0 },
  load: { words: 64, tokens: 16, trials: 5 },
  copies: { words: 64, tokens: 64, trials: 5 },
};

/** What the engine takes; it refuses what is beyond (`bench::arrivals`, `bench::plan`, `bench::replay`). */
export const RATES = { least: 0.01, most: 100, usual: 1 };
export const SECONDS = { least: 5, most: 600, usual: 60 };
export const ARRIVALS = { least: 5, most: 2000 };
export const TURNS = { least: 2, most: 12, usual: 6 };
export const PROMPTS = { most: 200, bytes: 500_000, tokens: 128 };

/** Whether runs of a plan ask for the same each time, so that they make a series and say how long another one takes. */
export function repeats(plan: BenchPlan): boolean {
  return plan.arrivals === null && plan.turns === null && plan.replay === null;
}

/** A file of prompts as it was chosen. */
export interface PromptFile {
  name: string;
  text: string;
}

/** Prompts of a file and their mean length in words: enough to say how long they take; the engine reads them strictly. */
export function promptsIn(text: string): { count: number; words: number } {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const words = lines.reduce((sum, line) => sum + line.trim().split(/\s+/).length, 0);
  return { count: lines.length, words: words / Math.max(1, lines.length) };
}

/** Requests of an open loop; null: its rate and seconds are beyond what the engine takes. */
export function arrivalsOf(rate: number, seconds: number): number | null {
  if (!(rate >= RATES.least && rate <= RATES.most)) return null;
  if (!Number.isInteger(seconds) || seconds < SECONDS.least || seconds > SECONDS.most) return null;
  const requests = Math.round(rate * seconds);
  return requests >= ARRIVALS.least && requests <= ARRIVALS.most ? requests : null;
}

/** Whether a plan of a run is one that can be chosen: a row of history may have one of another version. */
export function benchable(name: string): name is PlanName {
  return name in shapes;
}

export const MOST_AT_A_TIME = 64;
export const MOST_COPIES = 64;
const LEVELS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];
/** Requests of each worker at a level of a sweep. */
const ROUNDS = 4;
/** Warm-ups end when they are steady: two at the least. */
const WARMUPS = 2;

/** The steps of a sweep: doublings with steps between them, and the last. */
export function levelsTo(most: number): number[] {
  return [...LEVELS.filter((level) => level < most), most];
}

/** The levels of copies: doublings, and the last. */
export function copiesTo(most: number): number[] {
  return [...[1, 2, 4, 8, 16, 32, 64].filter((level) => level < most), most];
}

/** A line that a tool has found has more tokens than plain words: its signs are tokens of their own. */
const TOOL_TOKENS = 1.6;

/** What of a plan's course its time depends on. */
export interface Course {
  seconds?: number;
  turns?: number;
  prompts?: { count: number; words: number };
}

/** Seconds from and to which something takes; null: nothing is known. */
export type Estimate = { low: number; high: number } | null;

/** How long one request of a plan takes, from what the last run of that model showed. Seconds. */
export function requestSeconds(last: Run | null, plan: PlanName, length?: number): number | null {
  if (last === null || last.sweep !== null || last.copies !== null || !repeats(last.plan)) return null;
  const { tokens } = shapes[plan];
  const words = length ?? shapes[plan].words;
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
export function estimate(
  plan: PlanName,
  last: Run | null,
  other: Run | null,
  upTo: number,
  trials?: number,
  course: Course = {},
): Estimate {
  const warm = (run: Run | null) => Math.max(WARMUPS, run?.warmups ?? 0);
  const one = requestSeconds(last, plan);
  if (plan === 'open') {
    // Its time is what was asked for.
    const all = (course.seconds ?? SECONDS.usual) + (one === null ? 0 : one * warm(last));
    return { low: all, high: all };
  }
  if (one === null) return null;
  const n = trials ?? shapes[plan].trials;
  if (plan === 'agent') {
    const turns = course.turns ?? TURNS.usual;
    const at = (turn: number) => requestSeconds(last, plan, shapes.agent.words * TOOL_TOKENS * turn) ?? one;
    // Each conversation is held twice: kept, a turn is read alone; else all that came before is read anew.
    const cold = Array.from({ length: turns }, (_, index) => at(index + 1)).reduce((sum, each) => sum + each, 0);
    return { low: one * warm(last) + n * (cold + turns * at(1)), high: one * warm(last) + 2 * n * cold };
  }
  if (plan === 'replay') {
    const { count, words } = course.prompts ?? { count: 0, words: 0 };
    const each = requestSeconds(last, plan, words);
    if (count === 0 || each === null) return null;
    // Nobody knows where the model ends its answers.
    const reading = Math.max(0, each - PROMPTS.tokens / (last?.decode_tok_s?.median ?? Infinity));
    return { low: count * reading, high: count * each + each * warm(last) };
  }
  if (plan === 'ab') {
    const second = requestSeconds(other, plan);
    if (second === null) return null;
    const all = one * (n + warm(last)) + second * (n + warm(other));
    return { low: all, high: all };
  }
  if (plan === 'load') return loadTime(last, one, n);
  if (plan === 'copies') {
    // Copies share the machine, or each has it to itself; how long their loads take is known only from a run of loads.
    const levels = copiesTo(upTo);
    const alone = one * warm(last);
    const low = levels.reduce((sum) => sum + (n + 1) * one, alone);
    const high = levels.reduce((sum, level) => sum + (n + 1) * level * one, alone);
    return { low, high };
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

/** As the loads of the last run of them took; without one nobody knows how long a load takes. */
function loadTime(last: Run | null, request: number, n: number): Estimate {
  const kinds = last?.loads?.kinds.filter((kind) => kind.load_s !== null) ?? [];
  if (kinds.length === 0) return null;
  const all = kinds.reduce((sum, kind) => sum + n * ((kind.load_s?.median ?? 0) + 2 * request), 0);
  return { low: all, high: all };
}

/** The newest run of a model from which a time can be reckoned. */
export function lastOf(runs: Run[], server: string, model: string, plan?: PlanName): Run | null {
  return (
    runs.find(
      (run) =>
        run.server === server &&
        run.model === model &&
        run.state === 'done' &&
        run.sweep === null &&
        repeats(run.plan) &&
        run.copies === null &&
        // Only a run of loads tells how long a load takes.
        (plan === 'load') === (run.loads !== null) &&
        run.decode_tok_s !== null,
    ) ?? null
  );
}

/**
 * The call that does a run again, with everything it was asked with. `other`: the other side of a comparison. A replay cannot be
 * done again so: its prompts are not kept.
 */
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
  if (plan === 'sweep' || plan === 'copies') call.up_to = most;
  if (plan === 'sweep' && run.plan.slo_ms !== null) call.slo_ms = run.plan.slo_ms;
  if (run.plan.turns !== null) call.turns = run.plan.turns;
  if (run.plan.arrivals !== null) {
    const { rate_per_s, seconds, pattern } = run.plan.arrivals;
    Object.assign(call, { rate_per_s, seconds, arrivals: pattern });
    delete call.trials;
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
  rate: number;
  seconds: number;
  turns: number;
  prompts: PromptFile | null;
  whenDisturbed: WhenDisturbed;
}

/** Whether a file of prompts is beyond what a replay takes. */
export function tooMuch(text: string): boolean {
  return new TextEncoder().encode(text).length > PROMPTS.bytes || promptsIn(text).count > PROMPTS.most;
}

/** The call of a choice; null while something is missing. */
export function callOf(choice: Choice): BenchCall | null {
  const call: BenchCall = { call: 'bench', plan: choice.plan, when_disturbed: choice.whenDisturbed };
  if (choice.model !== '' && choice.server !== null)
    Object.assign(call, { model: choice.model, server: choice.server });
  if (choice.plan === 'sweep' || choice.plan === 'copies') {
    const most = choice.plan === 'sweep' ? MOST_AT_A_TIME : MOST_COPIES;
    if (!Number.isInteger(choice.upTo) || choice.upTo < 1 || choice.upTo > most) return null;
    call.up_to = choice.upTo;
  }
  if (choice.plan === 'open') {
    if (arrivalsOf(choice.rate, choice.seconds) === null) return null;
    Object.assign(call, { rate_per_s: choice.rate, seconds: choice.seconds });
  }
  if (choice.plan === 'agent') {
    if (!Number.isInteger(choice.turns) || choice.turns < TURNS.least || choice.turns > TURNS.most) return null;
    call.turns = choice.turns;
  }
  if (choice.plan === 'replay') {
    if (choice.prompts === null || tooMuch(choice.prompts.text)) return null;
    call.replay = choice.prompts.text;
  }
  if (choice.plan === 'ab') {
    if (choice.other === '' || choice.otherServer === null) return null;
    call.against = { model: choice.other, server: choice.otherServer };
  }
  return call;
}
