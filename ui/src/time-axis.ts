/** Pure questions about time axes: which moments get a label, and which sample a place on the axis means. */

import { clock } from './format';

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;
const STEPS = [
  ...[1, 2, 5, 10, 20, 30],
  ...[1, 2, 5, 10, 15, 30].map((n) => n * MINUTE),
  ...[1, 2, 3, 6, 12].map((n) => n * HOUR),
  ...[1, 2, 5, 7, 14, 30, 60, 90, 180, 365].map((n) => n * DAY),
];

export interface TimeTick {
  /** Seconds. */
  at: number;
  label: string;
}

/** Round moments of this machine's clock within a range of seconds, at most so many. */
export function timeTicks([from, to]: [number, number], most: number): TimeTick[] {
  const least = (to - from) / Math.max(1, most);
  const step = STEPS.find((one) => one >= least) ?? 365 * DAY;
  // Whole steps since midnight here, not since 1970 elsewhere.
  const midnight = new Date(from * 1000).setHours(0, 0, 0, 0) / 1000;
  const ticks: TimeTick[] = [];
  for (let at = midnight + Math.ceil((from - midnight) / step) * step; at <= to; at += step)
    ticks.push({ at, label: timeLabel(at, step) });
  return ticks.slice(0, most + 1);
}

/** The date at midnight, else the hour: the clock of this machine, 24 hours. */
export function timeLabel(at: number, step: number): string {
  const date = new Date(at * 1000);
  if (step >= DAY || (step >= HOUR && date.getHours() === 0 && date.getMinutes() === 0))
    return date.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' });
  return step < MINUTE ? clock(date) : clock(date).slice(0, 5);
}

/** The index of the sample that is nearest to a moment; null: there is none. */
export function nearest(times: number[], at: number): number | null {
  if (times.length === 0) return null;
  let [low, high] = [0, times.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((times[middle] ?? 0) <= at) low = middle;
    else high = middle;
  }
  return at - (times[low] ?? 0) <= (times[high] ?? 0) - at ? low : high;
}

/** Where a key leads on an axis of so many samples; null: it leads nowhere. */
export function stepTo(key: string, at: number | null, count: number): number | null {
  if (count === 0) return null;
  const from = at ?? count;
  const to = {
    ArrowLeft: from - 1,
    ArrowDown: from - 1,
    ArrowRight: at === null ? 0 : from + 1,
    ArrowUp: at === null ? 0 : from + 1,
    PageDown: from - 10,
    PageUp: at === null ? 0 : from + 10,
    Home: 0,
    End: count - 1,
  }[key];
  return to === undefined ? null : Math.min(count - 1, Math.max(0, to));
}

/** The part of a span that there is data of, in seconds: the axis is as long as its data, and a minute at least. */
export function rangeOf(times: number[], span: number | null, now = Date.now() / 1000): [number, number] {
  const last = times.at(-1) ?? now;
  const first = times[0] ?? last;
  if (span === null) return [first, Math.max(last, first + 1)];
  return [Math.max(last - span, Math.min(first, last - MINUTE)), last];
}

/** Where an axis that is so many pixels wide goes from where it is drawn: to what is wanted, or nowhere while neither end would
 * come to lie on another pixel. */
export function movedRange(drawn: [number, number] | null, wanted: [number, number], pixels: number): [number, number] {
  if (drawn === null || pixels <= 0) return wanted;
  const pixel = (wanted[1] - wanted[0]) / pixels;
  const near = (end: 0 | 1) => Math.abs(wanted[end] - drawn[end]) < pixel;
  return near(0) && near(1) ? drawn : wanted;
}

/** The top of an axis from zero: a round number that is not below the highest value. */
export function roundTop(highest: number): number {
  if (!(highest > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(highest));
  return ([1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((one) => one * power >= highest * 0.999) ?? 10) * power;
}

/** The greatest of these; 0 where there is none above it. A plain loop: it is asked for each sample that comes. */
export function highest(values: readonly (number | null)[]): number {
  let most = 0;
  for (const value of values) if (value !== null && value > most) most = value;
  return most;
}
