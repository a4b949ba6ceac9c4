/** What was measured so far of a run under way, as far as this page saw it. */
import type { BenchProgress } from '../api/BenchProgress';

export interface LiveRate {
  /** One answer: what comes twice with the same key is the same one. */
  key: string;
  rate: number;
  warmup: boolean;
  /** Whose it is: "<server>/<model>". */
  who: string;
  /** Requests at a time; null: one. */
  level: number | null;
}

/** The most that one page shows; older ones give way. */
const MOST = 400;

/** Adds the last answer unless it is known already. */
export function withLast(rates: LiveRate[], progress: BenchProgress): LiveRate[] {
  const { server, model, phase, done, block, concurrency, last_decode_tok_s: rate } = progress;
  if (rate === null) return rates;
  const who = `${server}/${model}`;
  const key = [who, phase, block?.[0] ?? '', concurrency ?? '', done].join(' ');
  if (rates.some((one) => one.key === key)) return rates;
  // Where the next phase or side has begun, the last answer is still that of the one before.
  const last = rates.at(-1);
  if (done === 0 && last?.rate === rate) return rates;
  return [...rates, { key, rate, warmup: phase === 'warmup', who, level: concurrency }].slice(-MOST);
}

/** Where the levels of a sweep begin among the rates. */
export function levelStarts(rates: LiveRate[]): { index: number; level: number }[] {
  return rates.flatMap(({ level }, index) =>
    level !== null && level !== rates[index - 1]?.level ? [{ index, level }] : [],
  );
}
