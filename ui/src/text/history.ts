/** Words of the page History. */
import type { TrendMetric } from '../bench/history';

/** What can be followed over time. */
export const trendNames: Record<TrendMetric, { title: string; unit: string }> = {
  decode: { title: 'Decode', unit: 'tok/s' },
  prefill: { title: 'Prefill', unit: 'tok/s' },
  ttft: { title: 'First token', unit: 'ms' },
  e2e: { title: 'Whole request', unit: 'ms' },
  memory: { title: 'Peak memory', unit: 'GB' },
  energy: { title: 'Energy', unit: 'J per token' },
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
  figure: 'Figure over time',
  over: (title: string) => `${title} over time`,
  overMeaning: 'One plot per model and server; dots are medians, lines their intervals or ranges.',
  lengths: (title: string, words: number, tokens: number) => `${title}, ${words} in, ${tokens} out`,
  levels: 'What changed',
  accept: 'That is as it shall be',
  loading: 'Reading history',
  onePoint: 'A second run of the same model draws a line in time.',
  pick: 'Pick',
  pickOf: (title: string, time: string) => `Pick ${title}, ${time}`,
  pickTwo: 'Pick two runs to compare them.',
  pickOneMore: 'One is picked. Pick another to compare it with.',
  pickedTwo: (a: string, b: string) => `${b} against ${a}`,
  compare: 'Compare',
  unpick: 'Unpick all',
  newer: 'Newer',
  older: 'Older',
  pageOf: (from: number, to: number, all: number) => `${from} – ${to} of ${all} runs`,
  onlyNewest: (n: number) => `Only the newest ${n} are read; name a model or a server for older ones.`,
};
