/** Pure questions about a comparison: the words of its verdicts, the axis of its ratios, who was asked when. */
import type { ComparedMetric } from '../api/ComparedMetric';
import type { Comparison } from '../api/Comparison';
import type { Ratio } from '../api/Ratio';
import type { Run } from '../api/Run';
import type { Trial } from '../api/Trial';
import { bytes, figure } from '../format';
import { niceStep } from '../plot';
import { comparedMetrics, comparedNames, comparison as words, verdicts, type ComparedName } from '../text';

const NBSP = '\u00a0';

export type Side = 'a' | 'b';

export function isKnown(metric: ComparedMetric): metric is ComparedMetric & { name: ComparedName } {
  return (comparedNames as readonly string[]).includes(metric.name);
}

export interface VerdictWords {
  /** "17 % faster", "no difference". */
  text: string;
  /** "15 – 19": percent, the ends of the interval; null: there is none. */
  range: string | null;
  /** Of side B. */
  tone: 'better' | 'worse' | 'same' | 'none';
}

/** The verdict on a metric, said of side B. */
export function verdictWords(metric: ComparedMetric & { name: ComparedName }): VerdictWords {
  const { ratio, verdict } = metric;
  if (verdict === 'not_comparable' || ratio === null)
    return { text: verdicts[verdict], range: null, tone: verdict === 'no_difference' ? 'same' : 'none' };
  const digits = digitsOf(ratio);
  const range = rangeOf(ratio);
  const signed = [(ratio.low - 1) * 100, (ratio.high - 1) * 100] as const;
  if (verdict === 'no_difference')
    return { text: verdicts[verdict], range: range(signed[0], signed[1], digits), tone: 'same' };
  const more = ratio.median >= 1;
  const ends = more ? signed : ([-signed[1], -signed[0]] as const);
  const direction = comparedMetrics[metric.name][more ? 'more' : 'less'];
  return {
    text: `${Math.abs((ratio.median - 1) * 100).toFixed(digits)}${NBSP}% ${direction}`,
    range: range(ends[0], ends[1], digits),
    tone: verdict === 'b_faster' ? 'better' : 'worse',
  };
}

/** Tenths of a percent only of small differences that are well known: else they would feign what is not. */
function digitsOf(ratio: Ratio): number {
  return (ratio.high - ratio.low) * 100 < 2 && Math.abs(ratio.median - 1) < 0.0995 ? 1 : 0;
}

/** How the ends are written: as an interval, as a range of too few values, or not at all where there is one value of each. */
function rangeOf(ratio: Ratio): (low: number, high: number, digits: number) => string | null {
  return (low, high, digits) => {
    const [from, to] = [signedText(low, digits), signedText(high, digits)];
    const ends = from === to ? from : `${from}${NBSP}–${NBSP}${to}`;
    if (isInterval(ratio)) return ends;
    return ratio.low === ratio.high ? null : words.range(ends);
  };
}

/** Whether the ends of a ratio are those of an interval; else they are its least and greatest value, or itself. */
export function isInterval(ratio: Ratio): boolean {
  return ratio.level > 0;
}

/** The sentence of a verdict in two: what leads, and what speaks against it. Servers by their titles instead of their ids. */
export function sentenceParts(sentence: string, titles: Record<string, string>): { head: string; rest: string | null } {
  let spoken = sentence;
  for (const [id, title] of Object.entries(titles)) {
    const escaped = id.replaceAll(/[^\w]/g, '\\$&');
    spoken = spoken.replaceAll(
      new RegExp(`(^|\\s)${escaped}(?=$|[\\s,;:)])`, 'g'),
      (_, before: string) => before + title,
    );
  }
  const cut = spoken.indexOf('; ');
  if (cut === -1) return { head: spoken, rest: null };
  const rest = spoken.slice(cut + 2);
  return { head: spoken.slice(0, cut), rest: `${rest.charAt(0).toUpperCase()}${rest.slice(1)}.` };
}

/** With a real minus sign, and no minus before a zero. */
function signedText(value: number, digits: number): string {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
}

/** The axis of ratios: even steps for even factors, one (no difference) in its middle. `reach`: the greatest factor. */
export interface RatioScale {
  reach: number;
}

export function ratioScale(metrics: ComparedMetric[]): RatioScale {
  const factors = metrics.flatMap(({ ratio }) =>
    ratio === null
      ? []
      : [ratio.low, ratio.high, ratio.median].filter((one) => one > 0).map((one) => Math.abs(Math.log(one))),
  );
  // Never so near that noise looks like a difference.
  return { reach: Math.exp(Math.max(Math.log(1.05), ...factors) * 1.12) };
}

/** Where a ratio lies, in percent of the axis. */
export function ratioPlace(scale: RatioScale, ratio: number): number {
  const share = 0.5 + Math.log(ratio) / Math.log(scale.reach) / 2;
  return Math.min(100, Math.max(0, share * 100));
}

/** "−20 %", "same", "+20 %": where they lie on the axis. */
export function ratioTicks(scale: RatioScale): { ratio: number; label: string }[] {
  const step = niceStep(((scale.reach - 1) * 100) / 1.6);
  const ticks = [{ ratio: 1, label: words.same as string }];
  // What is 60 % less lies as far from one as what is 150 % more: the step fits on either side.
  if (step < 100 && 1 - step / 100 > 1 / scale.reach)
    ticks.unshift({ ratio: 1 - step / 100, label: `−${step}${NBSP}%` });
  ticks.push({ ratio: 1 + step / 100, label: `+${step}${NBSP}%` });
  return ticks;
}

/** Both figures of a metric in one unit, and that unit. */
export function figuresOf(metric: ComparedMetric & { name: ComparedName }): {
  a: string | null;
  b: string | null;
  unit: string;
} {
  const most = Math.max(metric.a ?? 0, metric.b ?? 0);
  const [divisor, unit] = unitOf(metric.name, most);
  const written = (value: number | null) => (value === null ? null : figure(value / divisor));
  return { a: written(metric.a), b: written(metric.b), unit };
}

function unitOf(name: ComparedName, most: number): [number, string] {
  switch (name) {
    case 'decode_tok_s':
    case 'prefill_tok_s':
      return [1, 'tok/s'];
    case 'ttft_ms':
    case 'e2e_ms':
      return most >= 1000 ? [1000, 's'] : [1, 'ms'];
    case 'memory_bytes':
      return most >= 1e9 ? [1e9, 'GB'] : [1e6, 'MB'];
    case 'energy_j_per_token':
      return [1, words.perToken];
  }
}

/** What the sides are called: by what tells them apart. */
export function sideNames(
  of: Comparison,
  server: (run: Run) => string,
  model: (run: Run) => string,
  time: (run: Run) => string,
): Record<Side, string> {
  const { a, b } = of;
  for (const name of [server, model]) if (name(a) !== name(b)) return { a: name(a), b: name(b) };
  // The server can be the same and its version another: that is what is compared then.
  if (a.server_version !== b.server_version && a.server_version !== null && b.server_version !== null)
    return { a: `${server(a)} ${a.server_version}`, b: `${server(b)} ${b.server_version}` };
  if (!of.paired && time(a) !== time(b)) return { a: time(a), b: time(b) };
  return { a: words.first, b: words.second };
}

/** A time in which one side was asked. Milliseconds since the begin of the run. */
export interface Segment {
  side: Side;
  from: number;
  to: number;
}

/** Who was asked when, in order; what one side did in a row is one segment. `late`: how much later B's run began, in ms. */
export function segmentsOf(a: Trial[], b: Trial[], late = 0): Segment[] {
  const of = (side: Side, trials: Trial[], shift: number): Segment[] =>
    trials.flatMap((trial) =>
      trial.phase === 'measured' && trial.begun_ms !== null
        ? [{ side, from: trial.begun_ms + shift, to: trial.begun_ms + shift + trial.total_ms }]
        : [],
    );
  const merged: Segment[] = [];
  for (const next of [...of('a', a, 0), ...of('b', b, late)].sort((x, y) => x.from - y.from)) {
    const last = merged.at(-1);
    if (last?.side === next.side) last.to = Math.max(last.to, next.to);
    else merged.push(next);
  }
  return merged;
}

/** Both trials of each block, in the order of blocks. */
export function blocksOf(a: Trial[], b: Trial[]): { block: number; a: Trial | null; b: Trial | null }[] {
  const numbers = [...a, ...b].flatMap((trial) => (trial.block === null ? [] : [trial.block]));
  return [...new Set(numbers)]
    .sort((x, y) => x - y)
    .map((block) => ({
      block,
      a: a.find((trial) => trial.block === block) ?? null,
      b: b.find((trial) => trial.block === block) ?? null,
    }));
}

export interface MatchedRow {
  what: string;
  a: string;
  b: string;
  /** `unknown`: neither side tells it. */
  state: 'differs' | 'same' | 'unknown';
  meaning: string | null;
}

/** What names a run and is no setting. */
const NOT_SETTINGS = new Set(['server', 'model']);

/**
 * What the engine says differs, with its meaning; then each setting that is the same on both sides. What differs beside that is
 * what is compared (a server's version, weights under another name): the engine has judged it.
 */
export function matchedRows(of: Comparison): MatchedRow[] {
  const differs = of.unmatched.map((one): MatchedRow => ({ ...one, state: 'differs' }));
  const same = Object.entries(of.a.fingerprint)
    .sort(([x], [y]) => x.localeCompare(y))
    .flatMap(([key, value]): MatchedRow[] => {
      if (NOT_SETTINGS.has(key) || of.b.fingerprint[key] !== value) return [];
      const text = written(key, value);
      const state = value === words.notTold ? 'unknown' : 'same';
      return [{ what: key.replaceAll('_', ' '), a: text, b: text, state, meaning: null }];
    });
  return [...differs, ...same.filter((row) => row.state === 'same'), ...same.filter((row) => row.state === 'unknown')];
}

function written(key: string, value: string): string {
  return key.endsWith('_bytes') && /^\d+$/.test(value) ? bytes(Number(value)) : value;
}
