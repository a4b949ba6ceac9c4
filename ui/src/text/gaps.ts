/** Words of the time between the events of answers. */

export const gaps = {
  title: 'Between tokens',
  half: 'Median',
  p95: '95 of 100 within',
  p99: '99 of 100 within',
  longest: 'Longest',
  meaning: (gaps: string) =>
    `${gaps} between one piece of text and the next, by the client\u2019s clock. A piece may hold several tokens.`,
  none: (n: number) => `${n} came together with the piece before.`,
  gone: 'The single gaps of a run this old are no longer kept.',
  plot: (median: string, longest: string) => `Distribution of gaps: median ${median}, longest ${longest}`,
  bar: (from: string, to: string, n: number) => `${from} – ${to}: ${n}`,
} as const;
