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
  return { min: min - margin, max: max + margin };
}

/** Where a value lies, in percent of the axis. */
export function place(scale: Scale, value: number): number {
  const share = ((value - scale.min) / (scale.max - scale.min)) * 100;
  return Math.min(100, Math.max(0, share));
}
