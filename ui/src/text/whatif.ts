/** Words of "What if": does it fit, and what would. */
import type { FitVerdict } from '../api/FitVerdict';
import type { PartKind } from '../api/PartKind';
import type { Tone } from './states';

export const fitVerdicts: Record<FitVerdict, { word: string; tone: Tone }> = {
  fits: { word: 'Fits', tone: 'good' },
  tight: { word: 'Fits, but tightly', tone: 'attention' },
  does_not_fit: { word: 'Does not fit', tone: 'broken' },
};

/** How far a rate may be off. */
const give = (error: number | null) => (error === null ? '' : `\u00a0±${Math.round(error)}\u00a0%`);

/** What of a model takes memory. */
export const partKinds: Record<PartKind, string> = {
  weights: 'Weights',
  kv_cache: 'KV cache',
  compute: 'Buffers',
  runner: 'Runner',
  learned: 'Learned from earlier loads',
};

export const whatIf = {
  title: 'What if',
  intro: 'Choose models to see whether they fit beside what runs now. Nothing is loaded.',
  models: 'Models',
  filter: 'Filter',
  noModels: 'No server reports a model yet. A typical size can be asked about all the same.',
  noMatch: (filter: string) => `No model matches “${filter}”.`,
  sizes: 'Typical sizes',
  sizesExample: '7b, 70b:q2_k',
  context: 'Context',
  tokens: (n: number) => `${n} tokens`,
  parallel: 'Requests at a time',
  kv: 'KV cache in',
  asServer: 'as its server loads it',
  reset: 'As its server loads it',
  nothing: 'No model is chosen.',
  reckoning: 'Reckoning',
  needs: (need: string) => `needs about ${need}`,
  free: (free: string) => `${free} free`,
  left: (left: string) => `${left} left`,
  lacks: (size: string) => `${size} more than is free`,
  replaces: 'What these models hold now is counted as free.',
  partsTitle: 'What is needed',
  part: 'Part',
  offers: 'What would make it fit',
  noOffers: 'Nothing simple would make it fit.',
  offerNeeds: (size: string, cost: string) => `needs about ${size}; ${cost}`,
  evicts: (models: string) => `Loading it would push out: ${models}.`,
  rate: (rate: string, error: number | null) => `about ${rate}${give(error)}`,
  measuredRate: (rate: string, error: number | null) => `${rate}${give(error)}`,
  prefill: (rate: string) => `prompts at ${rate}`,
  noPrefill: (reason: string) => `prompts: not known, ${reason}`,
  forecast: 'Forecast, not measured:',
  measured: 'Measured here:',
  from: (source: string) => `from ${source}`,
  noForecast: (reason: string) => `none: ${reason}`,
  together: 'What fits together',
  togetherIntro: 'Sets of the models here to which no other could be added; what is loaded counts as free.',
  togetherOf: (free: string) => `of ${free}`,
  togetherNone: 'No model of known size fits.',
  togetherMore: (n: number) => `The ${n} with the largest models; there are more.`,
  tooLarge: 'Too large even alone',
  sizeUnknown: 'Size not known',
  set: 'Models',
  setNeeds: 'Need about',
  setLeft: 'Left',
} as const;
