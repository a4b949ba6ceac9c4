/** Pure questions about a sweep: where its levels lie, how high its axes reach, what it says. */
import type { Summary } from '../api/Summary';
import type { Sweep } from '../api/Sweep';
import type { SweepPoint } from '../api/SweepPoint';
import { duration, percent } from '../format';
import { sweep as words } from '../text';

/** A GPU is full from this load on. Percent. */
const FULL = 95;
/** Up to this many requests at a time the axis is even; beyond, doublings are as far from each other. */
const EVEN_TO = 16;

export function sweepTitle(sweep: Sweep, model: string): string {
  if (sweep.best !== null) return words.best(sweep.best, model);
  if (sweep.knee !== null) return words.noBest(sweep.knee.concurrency, model);
  return words.noKnee(Math.max(0, ...sweep.points.map((point) => point.concurrency)), model);
}

/** Levels that are marked: the best, and the knee where it is another one. */
export function markedLevels(sweep: Sweep): number[] {
  return [...new Set([sweep.best, sweep.knee?.concurrency ?? null])].filter((level) => level !== null);
}

/** Where each level lies, in percent of the width; a lone one in the middle. */
export function levelPlaces(levels: number[]): number[] {
  const most = Math.max(...levels);
  const least = Math.min(...levels);
  if (most === least) return levels.map(() => 50);
  const at = most <= EVEN_TO ? (level: number) => level : (level: number) => Math.log2(level);
  return levels.map((level) => 4 + ((at(level) - at(least)) / (at(most) - at(least))) * 92);
}

/** Half the way to the nearest neighbour on either side: how wide a mark may be, in percent. */
export function markWidth(places: number[], index: number): number {
  const here = places[index] ?? 50;
  const gaps = places.filter((_, other) => other !== index).map((place) => Math.abs(place - here));
  return Math.min(8, Math.max(3, Math.min(...gaps, 100) * 0.8));
}

/** A round end of an axis that begins with zero, so that its half is round too. */
export function axisTop(most: number): number {
  if (!(most > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  const factor = [1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10, 12].find((one) => one * power >= most * 1.02) ?? 12;
  return Number((factor * power).toPrecision(3));
}

/**
 * The end of an axis on which one limit matters: values far beyond it would press all others onto the floor, so the axis ends
 * and the plot says what lies above.
 */
export function clippedTop(values: (number | null)[], limit: number): number {
  const known = values.filter((value) => value !== null);
  const most = Math.max(limit, ...known);
  const bound = limit * 8;
  if (most <= bound) return axisTop(most);
  return axisTop(Math.max(limit * 2, ...known.filter((value) => value <= bound)));
}

/** Round values of an axis, which need no three digits. */
export function rateTick(value: number): string {
  return `${value}\u00a0tok/s`;
}

export function timeTick(ms: number): string {
  return ms < 1000 ? `${ms}\u00a0ms` : `${Number((ms / 1000).toPrecision(3))}\u00a0s`;
}

/** The highest rate of all answers together. */
export function mostSeen(sweep: Sweep): number | null {
  const rates = sweep.points.flatMap((point) => (point.out_tok_s === null ? [] : [point.out_tok_s]));
  return rates.length === 0 ? null : Math.max(...rates);
}

/** How the first tokens of a level are spread, as any figure; null for sweeps of which only the middle was kept. */
export function ttftSummary(point: SweepPoint): Summary | null {
  const { ttft_ms: ttft } = point;
  if (ttft === null || ttft.low === null || ttft.high === null || ttft.n === null || ttft.interval === null)
    return null;
  const { median, low, high, n, interval } = ttft;
  return { median, low, high, n, interval, source: 'client' };
}

/** Joules for each token: what the level took by the second, divided by what it gave. */
export function energyOf(point: SweepPoint): number | null {
  if (point.power_w === null || point.out_tok_s === null || point.out_tok_s <= 0) return null;
  return point.power_w / point.out_tok_s;
}

/** What becomes of first tokens. */
export function inTimeWords(sweep: Sweep): string | null {
  const timed = sweep.points.filter((point) => point.ttft_ms !== null);
  if (timed.length === 0) return null;
  const limit = duration(sweep.slo_ms);
  const late = timed.filter((point) => (point.ttft_ms?.p95 ?? 0) > sweep.slo_ms);
  const first = late[0];
  if (first === undefined) return words.allInTime(limit);
  if (late.length === timed.length) return words.neverInTime(limit);
  const share = first.goodput === null ? 5 : Math.round((1 - first.goodput) * 100);
  return words.lateFrom(first.concurrency, limit, String(Math.max(5, share)));
}

/** What holds it down, as far as it was measured. */
export function limitWords(sweep: Sweep): string[] {
  const said: string[] = [];
  const loads = sweep.points.filter((point) => point.gpu_load_percent !== null);
  const full = loads.find((point) => (point.gpu_load_percent ?? 0) >= FULL);
  if (full) said.push(words.gpuFull(full.concurrency, percent(full.gpu_load_percent ?? 0)));
  else if (loads.length > 0)
    said.push(words.gpuNotFull(percent(Math.max(...loads.map((point) => point.gpu_load_percent ?? 0)))));
  const requests = sweep.points.reduce((sum, point) => sum + point.requests + point.failed, 0);
  const failed = sweep.points.reduce((sum, point) => sum + point.failed, 0);
  if (requests > 0) said.push(failed === 0 ? words.noneFailed(requests) : words.someFailed(failed, requests));
  return said;
}

/** Beyond this the machine has changed while it was measured. */
const ALIKE = 0.03;

/** How the first level came out when it was measured once more. */
export function againWords(again: number): string {
  if (Math.abs(again) < 0.0005) return words.againSame;
  return words.againMeaning(percent(Math.abs(again) * 100), again < 0, Math.abs(again) <= ALIKE);
}
