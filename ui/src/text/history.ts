/** Words of the page History. */
import type { Kept } from '../api/Kept';
import type { SeriesMetric } from '../api/SeriesMetric';
import { whole } from '../format';

/** What can be followed over time. */
export const trendNames: Record<SeriesMetric, { title: string; unit: string }> = {
  decode_tok_s: { title: 'Decode', unit: 'tok/s' },
  prefill_tok_s: { title: 'Prefill', unit: 'tok/s' },
  ttft_ms: { title: 'First token', unit: 'ms' },
  e2e_ms: { title: 'Whole request', unit: 'ms' },
  memory_bytes: { title: 'Peak memory', unit: 'GB' },
  energy_j_per_token: { title: 'Energy', unit: 'J per token' },
};

export const history = {
  title: 'History',
  model: 'Model name',
  server: 'Server',
  all: 'All servers',
  plan: 'Plan',
  allPlans: 'All plans',
  state: 'State',
  allStates: 'All states',
  days: { from: 'From', to: 'to' },
  figure: 'Figure over time',
  over: (title: string) => `${title} over time`,
  overMeaning:
    'One plot per model, server and plan, of its last 400 runs; dots are medians, lines their intervals or ranges.',
  ofPlan: (title: string, plan: string) => `${title}, ${plan.toLowerCase()}`,
  changes: (n: number) => (n === 1 ? 'One change of level:' : `${n} changes of level:`),
  changeRun: (run: number) => `run ${run}`,
  changeSaid: (time: string, words: string) => `${time}: ${words}`,
  levels: 'What changed',
  accept: 'That is as it shall be',
  loading: 'Reading history',
  plotsOf: (n: number, all: number, most: boolean) =>
    `${n} of ${most ? `the ${all} with the newest runs` : whole(all)} plots, those with the most runs.`,
  allPlots: 'Show all',
  fewerPlots: 'Show fewer',
  /** Series that no line can be drawn of. */
  single: (names: string[]) =>
    names.length > 6
      ? `Measured once so far, so without a line: ${names.slice(0, 6).join(', ')} and ${names.length - 6} more.`
      : `Measured once so far, so without a line: ${names.join(', ')}.`,
  onePoint: 'A second run of the same model draws a line in time.',
  /** Heard at a point of a plot. */
  pointSaid: (when: string, value: string, low: string, high: string, run: number | null) =>
    `${when}: ${value}, ${low} to ${high}${run === null ? '' : `, run ${run}`}`,
  inUnit: (unit: string) => unit,
  pick: 'Pick',
  pickOf: (title: string, time: string) => `Pick ${title}, ${time}`,
  pickTwo: 'Pick two runs to compare them.',
  pickOneMore: 'One is picked. Pick another to compare it with.',
  pickedTwo: (a: string, b: string) => `${b} against ${a}`,
  compare: 'Compare',
  unpick: 'Unpick all',
  newer: 'Newer',
  older: 'Older',
  pageOf: (from: number, to: number, all: number) => `${whole(from)} – ${whole(to)} of ${whole(all)} runs`,
  beyond: (all: number) => `There is no such page: ${whole(all)} runs match.`,
};

/** Words of what the history takes. */
export const sizes = {
  title: 'What the history takes',
  all: (file: string, free: string) => `${file} in all, of which ${free} are free for new runs`,
  what: 'What',
  rows: 'Rows',
  about: 'About',
  kept: 'Kept',
  next: 'The next clean-up frees',
  ever: 'for ever',
  days: (n: number) => (n === 1 ? '1 day' : `${n} days`),
  frees: (rows: string, size: string) => `${rows}, about ${size}`,
  kinds: {
    runs: 'Runs and their figures',
    trials: 'Measured requests',
    warmups: 'Warm-ups',
    gaps: 'Gaps between tokens, by answer',
    samples: 'Samples of the gauges',
    minutes: 'Minutes of the gauges',
    requests: 'Records of requests',
  } satisfies Record<Kept, string>,
  meaning: 'It is cleaned up once a day while nothing is measured. The ages stand in the settings, under [history].',
  measured: (time: string) => `Counted and measured ${time}.`,
} as const;
