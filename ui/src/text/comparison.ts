/** Words of the page that holds two runs against each other. */
import type { DisturbedBy } from '../api/DisturbedBy';
import type { Verdict } from '../api/Verdict';

/** What the engine compares. */
export const comparedNames = [
  'decode_tok_s',
  'prefill_tok_s',
  'ttft_ms',
  'e2e_ms',
  'memory_bytes',
  'energy_j_per_token',
] as const;
export type ComparedName = (typeof comparedNames)[number];

/** `more` and `less`: what it means that B's figure is greater or smaller than A's. */
export const comparedMetrics: Record<ComparedName, { title: string; more: string; less: string; lowIsGood: boolean }> =
  {
    decode_tok_s: { title: 'Decode', more: 'faster', less: 'slower', lowIsGood: false },
    prefill_tok_s: { title: 'Prefill', more: 'faster', less: 'slower', lowIsGood: false },
    ttft_ms: { title: 'First token', more: 'later', less: 'sooner', lowIsGood: true },
    e2e_ms: { title: 'Whole request', more: 'longer', less: 'shorter', lowIsGood: true },
    memory_bytes: { title: 'Peak memory', more: 'more', less: 'less', lowIsGood: true },
    energy_j_per_token: { title: 'Energy', more: 'more', less: 'less', lowIsGood: true },
  };

/** The verdict where no number is said with it. */
export const verdicts: Record<Verdict, string> = {
  a_faster: 'the first is better',
  b_faster: 'the second is better',
  no_difference: 'no difference',
  not_comparable: 'not comparable',
};

/** Who disturbed a run, and how much. */
export const disturbances: Record<DisturbedBy, (name: string, percent: string | null) => string> = {
  processor: (name, percent) => `${name} ${percent === null ? 'computes' : `uses ${percent} of a core`}`,
  gpu: (name, percent) => `${name} ${percent === null ? 'keeps a GPU busy' : `uses ${percent} of a GPU`}`,
  memory: (name, percent) => (percent === null ? `memory is short: ${name}` : `${percent} of memory in use: ${name}`),
  swap: (name) => `memory is written to the disk: ${name}`,
  heat: (name) => name,
  battery: (name) => `not on mains power: ${name}`,
  requests: (name) => `other requests: ${name}`,
};

export const comparison = {
  title: 'Comparison',
  loading: 'Comparing both runs',
  noSentence: (a: string, b: string) => `${b} against ${a}`,
  against: (b: string, a: string) => `${b} against ${a}`,
  interval: (level: string) => `${level} interval`,
  metric: 'Metric',
  verdict: 'Verdict',
  /** The line at which both are alike. */
  same: 'same',
  clientClock: 'client clock',
  words: (n: number) => `${n}-word prompt`,
  inOut: (words: number, tokens: number) => `${words} words in, ${tokens} tokens out`,
  out: (tokens: number) => `${tokens} tokens out`,
  context: (tokens: string) => `context ${tokens}`,
  perToken: 'J per token',
  blocks: (n: number) => (n === 1 ? '1 interleaved block' : `${n} interleaved blocks`),
  notInTurns: 'not measured in turns',
  notInTurnsMeaning: 'Measured at different times: what else the machine did then is part of the difference.',
  trials: (n: number) => `${n} trials`,
  quiet: 'quiet',
  disturbedBy: (who: string) => `disturbed by ${who}`,
  disturbed: 'Disturbed',
  seconds: (what: string, time: string) => `${what}, for ${time}`,
  pid: (what: string, pid: number) => `${what} (PID ${pid})`,
  matched: 'What was matched',
  allMatched: 'Nothing that is known differs beside what is compared.',
  differs: (what: string, a: string, b: string) => `Not the same ${what}: ${a} against ${b}`,
  moreDiffer: (n: number) => (n === 1 ? '1 more difference' : `${n} more differences`),
  setting: 'Setting',
  meaning: 'What it means',
  sameOnBoth: 'the same',
  differ: 'differs',
  neitherTells: 'not reported by either',
  notReportedBy: (metrics: string) => `Not reported by either side: ${metrics}.`,
  range: (ends: string) => `range ${ends}`,
  notTold: 'not reported',
  noise: (percent: string, measured: boolean) =>
    measured
      ? `Less than ${percent} is noise here, as comparisons of a model with itself showed.`
      : `Less than ${percent} is taken for noise; it was not measured on this machine yet.`,
  timeline: 'Timeline',
  timelineOf: (title: string) => `${title}: shaded by who was asked`,
  noTrace: 'Of these runs the gauges were not kept.',
  everyTrial: 'Every trial',
  everyTrialUnit: 'decode, tok/s',
  dotsOf: (side: string, n: string) => `${side}, ${n}`,
  trialsTable: 'Trials, table',
  block: 'Block',
  why: 'Where the difference comes from',
  gpuMean: (parts: string) => `GPU while answering: ${parts}.`,
  gpuIdle: (parts: string) => `GPU idle while answering, share of the time: ${parts}.`,
  cpuMean: (parts: string) => `CPU while answering: ${parts}.`,
  power: (parts: string) => `Power while answering: ${parts}.`,
  ofSide: (figure: string, side: string) => `${side} ${figure}`,
  heldDown: (side: string, parts: string) => `GPU slowed, ${side}: ${parts}.`,
  heldFor: (reason: string, time: string) => `${reason}, ${time}`,
  ownClocks: (parts: string) => `By the servers’ own clocks: ${parts}.`,
  swapped: (size: string) => `${size} was written to swap meanwhile.`,
  notSwapped: 'No swapping.',
  undisturbed: 'No other program, no other request.',
  again: 'Run again',
  inTurns: 'Measure in turns',
  takes: (what: string, time: string) => `${what}, ${time}`,
  first: 'First',
  second: 'Second',
} as const;
