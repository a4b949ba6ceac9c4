/** Words of benchmarks and of a run. */
import type { RunState } from '../api/RunState';
import type { Summary } from '../api/Summary';
import type { TrialPhase } from '../api/TrialPhase';
import type { WhenDisturbed } from '../api/WhenDisturbed';
import type { Estimate, PlanName } from '../bench/plans';
import type { Column } from '../series';
import type { Tone } from './states';

export const runStates: Record<RunState, { word: string; tone: Tone }> = {
  running: { word: 'running', tone: 'busy' },
  done: { word: 'done', tone: 'good' },
  cut_off: { word: 'cut off', tone: 'attention' },
  cancelled: { word: 'cancelled', tone: 'idle' },
};

export const trialPhases: Record<TrialPhase, { one: string; many: string }> = {
  warmup: { one: 'Warm-up', many: 'Warm-ups' },
  measured: { one: 'Trial', many: 'Trials' },
};

/** What is known against the figures of a run. */
export const marks = {
  cutOff: 'cut off',
  cancelled: 'cancelled',
  throttled: 'throttled',
  disturbed: 'disturbed',
  notSettled: 'not settled',
};

export const whenDisturbed: Record<WhenDisturbed, string> = {
  mark: 'measure and say who disturbed',
  stop: 'do not measure',
};

/** "about 40 s", "about 2 min", "1 to 4 min"; null where nothing is known. */
export function benchTime(estimate: Estimate): string | null {
  if (estimate === null) return null;
  const coarse = (seconds: number): [number, string] =>
    seconds < 52 ? [Math.max(5, Math.round(seconds / 5) * 5), 's'] : [Math.max(1, Math.round(seconds / 60)), 'min'];
  const [low, unit] = coarse(estimate.low);
  const [high, highUnit] = coarse(estimate.high);
  if (low === high && unit === highUnit) return `about ${high}\u00a0${highUnit}`;
  return unit === highUnit ? `${low} to ${high}\u00a0${unit}` : `${low}\u00a0${unit} to ${high}\u00a0${highUnit}`;
}

export const bench = {
  reasons: 'What the traces say',
  title: 'Benchmark',
  model: 'Model',
  activeModel: 'Active model',
  plan: 'Plan',
  plans: [
    ['quick', 'Quick'],
    ['standard', 'Standard'],
    ['ab', 'Compare with …'],
    ['sweep', 'Requests at a time'],
    ['open', 'Requests by plan'],
    ['agent', 'Conversation'],
    ['replay', 'My own prompts'],
    ['load', 'Loads'],
    ['copies', 'Copies in memory'],
  ] as [PlanName, string][],
  planMeanings: {
    quick: 'Short prompts and answers, one after the other.',
    standard: 'Long prompts and answers, one after the other.',
    ab: 'Both in turns, so that whatever else happens hits both alike. Before the first comparison here, the first one with itself, to learn what chance does.',
    sweep: 'More and more requests at a time, to see from where on more gain nothing.',
    open: 'Requests come at a rate, whatever the server does, and count from when they were due.',
    agent: 'Conversations that grow turn by turn, to see what the server saves by keeping their beginning.',
    replay:
      'Each prompt of a file once: JSON Lines ({"prompt": "…"} or {"messages": […]}), or one prompt a line; at most 200 prompts and 500 kB. The prompts are not kept.',
    load: 'Takes the model out of memory and loads it again, five times, and times the first token after each load.',
    copies: 'More and more copies of the model in memory, one request at a time each; LM Studio can hold them.',
  } satisfies Record<PlanName, string>,
  noise: (title: string) => `${title} with itself, to learn how much this machine scatters`,
  planNames: {
    quick: 'Quick',
    standard: 'Standard',
    ab: 'Comparison',
    sweep: 'Requests at a time',
    open: 'Requests by plan',
    agent: 'Conversation',
    replay: 'Own prompts',
    load: 'Loads',
    copies: 'Copies in memory',
  } as Record<string, string>,
  other: 'Compare with',
  chooseOther: 'Compare with …',
  withItself: (title: string) => `itself: ${title}`,
  upTo: 'up to',
  rate: 'requests by the second',
  seconds: 'for seconds',
  turns: 'turns',
  prompts: 'File of prompts',
  /** What a number may be, beside its field. */
  limits: (least: number, most: number, what: string) => `${least} to ${most} ${what}`,
  ofThat: { sweep: 'at a time', copies: 'copies' },
  requestsPlanned: (n: number) => `${n} requests.`,
  promptsChosen: (n: number) => (n === 1 ? '1 prompt.' : `${n} prompts.`),
  promptsTooMany: (n: number) => `${n} prompts: a replay takes at most 200, and 500 kB.`,
  turnOf: (k: number, n: number) => `Turn ${k} of ${n}`,
  timeUnknown: 'a minute or two',
  /** `cold`: what has to be loaded first. */
  does: (time: string, cold: string | null) =>
    `Takes ${time}. ` +
    (cold === null ? '' : `Loads ${cold} first; afterwards memory is as before. `) +
    'Nothing is switched or loaded beside it; other programs still get answers, and are named if they disturb.',
  /** `active`: requests for the active model wait meanwhile. */
  doesLoads: (time: string, active: boolean) =>
    `Takes ${time}. ` +
    (active ? 'Requests for the active model wait meanwhile. ' : '') +
    'Afterwards memory is as before. Nothing else is switched or loaded beside it.',
  ifNotQuiet: 'If the machine does not become quiet',
  blockOf: (k: number, n: number) => `Block ${k} of ${n}`,
  atATime: (n: number) => `${n} at a time`,
  waitsFor: (what: string) => `Waiting for a quiet machine: ${what}`,
  soFar: (n: number, last: string) => `${n === 1 ? '1 answer' : `${n} answers`} so far, the last at ${last}`,
  measured: (title: string) => `Measured ${title}.`,
  showResult: 'Show',
  showTheResult: 'Show the result',
  cancelRun: 'Cancel the benchmark',
  flawed: 'flawed',
  start: 'Start benchmark',
  again: 'Run again',
  report: 'Report',
  reportMeaning: 'Saves one page with all figures and plots, which opens without a network',
  noModel: 'A benchmark needs a model: switch to one first.',
  /** Heard, not seen: once, however many there are. */
  warmingUp: 'Warming up',
  measuringHeard: (title: string) => `Measuring ${title}.`,
  cancelledHeard: (title: string) => `The benchmark of ${title} was cancelled. What was measured is kept.`,
  endedHeard: (title: string) => `The benchmark of ${title} has ended early.`,
  firstAfter: (time: string) => `first token ${time}`,
  warmup: (done: number, most: number) => `Warm-up ${done} of at most ${most}`,
  trial: (k: number, n: number) => `Trial ${k} of ${n}`,
  starting: 'Preparing',
  lastRate: (rate: string) => `last ${rate}`,
  runs: 'Last runs',
  none: 'No benchmark has been run yet.',
  noneHint: 'A quick one takes about half a minute and shows how fast the active model answers here.',
  noneMatch: 'No run matches this filter.',
  last: 'Last benchmark',
  measuring: (title: string) => `Measuring ${title}`,
  watch: 'Watch',
  time: 'Time',
  server: 'Server',
  decode: 'Decode',
  prefill: 'Prefill',
  ttft: 'First token',
  trials: 'Trials',
  tableOf: (title: string) => `${title}, table`,
  state: 'State',
  unitRate: 'tok/s',
  spreadOf: ({ interval, n }: Summary) => (interval === 'range' ? `range of ${n}` : `${interval} interval`),
  intervalMeaning: ({ interval, n }: Summary) =>
    interval === 'range'
      ? `Median of ${n}, too few for an interval: low and high are the smallest and the largest`
      : `Median of ${n} with its ${interval} interval, by bootstrap`,
  spreadHead: 'median, interval or range',
  noFigure: 'This run has no figure for it',
  runTitle: (model: string, server: string) => `${model} on ${server}`,
  client: 'Client clock',
  serverFigures: 'Server’s own figures',
  figures: 'Figures',
  everyTrial: 'Every trial, decode tok/s',
  perTrial: 'Trials',
  warmups: 'Warm-ups, not counted',
  fingerprint: 'Measured on',
  noFingerprint: 'Nothing about the machine was recorded.',
  peak: 'Peak memory',
  peakGpu: 'Peak memory of GPUs',
  energy: 'Energy',
  perToken: 'J per token',
  about: (figure: string) => `About ${figure.toLowerCase()}`,
  meanings: {
    decode: 'Tokens after the first, divided by the time between the first and the last.',
    prefill: 'Prompt tokens that were not cached, divided by the time to the first token.',
    ttft: 'From sending the request to the first token.',
    e2e: 'From sending the request to the end of the answer.',
    peak: 'The highest memory of the process that holds the model, or of all processes of its server where that is not told apart; without what it holds on a GPU of its own memory.',
    peakGpu: 'The highest memory of the same on GPUs with memory of their own.',
    energy:
      'What the GPUs took while requests were measured, divided by output tokens; what they take at rest is in it.',
  },
  clientSource: 'Client clock: as a program that asks sees it, HTTP included.',
  serverSource: 'The server’s own figure stands beside it as a check.',
  gaugeSource: 'From the gauges, read while it measured.',
  measuredAt: (time: string) => `Measured ${time}.`,
  oneReading: 'One reading, the highest: it has no spread.',
  oneSum: 'One figure of all measured requests: it has no spread.',
  disturbed: 'Disturbed',
  flaws: (n: number, all: number) => `${n} of ${all} trials do not count:`,
  measuredAgainst: 'Measured in turns with another:',
  comparison: 'comparison',
  total: 'Whole request',
  output: 'Output tokens',
  prompt: 'Prompt tokens',
  cached: 'Cached',
  finish: 'Ended by',
  flaw: 'Does not count because',
  openIs: (rate: string, seconds: number, requests: number) =>
    `${rate} requests by the second for ${seconds} s, ${requests} in all`,
  conversationIs: (turns: number, conversations: number) =>
    `${conversations} conversations of ${turns} turns, each held twice`,
  replayIs: (prompts: number, digest: string) =>
    `${prompts === 1 ? '1 prompt' : `${prompts} prompts`} of a file, which was not kept (SHA-256 ${digest.slice(0, 8)}…)`,
  planIs: (words: number, tokens: number, trials: number) =>
    `${words} words in, ${tokens} tokens out, ${trials} trials`,
  loading: 'Reading the run',
  trace: 'Gauges during the run',
  traceMeaning: 'Least to greatest value, from the begin of the run to its end',
  perMinute: 'Per minute: mean, with the least and greatest sample',
  noTrace: 'Of this run the gauges were not kept.',
  traceColumns: {
    cpu_percent: 'CPU',
    memory_used_bytes: 'Memory',
    swap_used_bytes: 'Swap',
    gpu_load_percent: 'GPU',
    gpu_memory_used_bytes: 'GPU memory',
    gpu_power_w: 'GPU power',
    servers_memory_bytes: 'Servers',
  } satisfies Record<Column, string>,
  cards: 'GPUs during the run',
  card: 'GPU',
  cardColumns: { load_percent: 'Load', memory_used_bytes: 'Memory', power_w: 'Power', temperature_c: 'Temperature' },
  slowedBy: 'Slowed by',
  notHeld: 'nothing',
  heldFor: (reason: string, time: string) => `${reason}, ${time}`,
  between: (low: string, high: string) => (low === high ? low : `${low} – ${high}`),
};
