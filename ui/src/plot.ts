/** Places of figures on a shared axis. */
import type { Summary } from './api/Summary';

export interface Scale {
  min: number;
  max: number;
}

/** One axis for all rows, a little wider than the widest interval; null while there is nothing to show. */
export function scaleOf(summaries: (Summary | null)[]): Scale | null {
  const known = summaries.filter((summary): summary is Summary => summary !== null);
  if (known.length === 0) return null;
  const min = Math.min(...known.map((summary) => summary.low));
  const max = Math.max(...known.map((summary) => summary.high));
  // One lone value still gets an axis around it.
  const margin = (max - min) * 0.08 || Math.abs(max) * 0.05 || 1;
  // What cannot be below zero has no axis there.
  return { min: min >= 0 ? Math.max(0, min - margin) : min - margin, max: max + margin };
}

/** Where a value lies, in percent of the axis. */
export function place(scale: Scale, value: number): number {
  const share = ((value - scale.min) / (scale.max - scale.min)) * 100;
  return Math.min(100, Math.max(0, share));
}

/** The greatest of 1, 2 and 5 times a power of ten that is no greater than a value. */
export function niceStep(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  const factor = [5, 2, 1].find((one) => one * power <= value * (1 + 1e-9)) ?? 1;
  return Number((factor * power).toPrecision(3));
}

/** Round values on an axis, at most so many steps apart. */
export function ticksOf(scale: Scale, most = 6): number[] {
  const least = (scale.max - scale.min) / most;
  const step = [1, 2, 5, 10]
    .map((factor) => factor * 10 ** Math.floor(Math.log10(least)))
    .find((one) => one >= least * 0.999);
  if (step === undefined || !Number.isFinite(step)) return [];
  const ticks: number[] = [];
  for (let at = Math.ceil(scale.min / step); at * step <= scale.max; at += 1)
    ticks.push(Number((at * step).toPrecision(6)));
  return ticks;
}
