/** Pure questions about the time between the events of answers. */
import type { Trial } from '../api/Trial';

/** A bar of a distribution. */
export interface Bar {
  /** Milliseconds. */
  from: number;
  to: number;
  count: number;
}

const BARS = 32;

/** Gaps of the trials that count, in milliseconds, ascending; null: none is kept. */
export function gapsOf(trials: Trial[]): number[] | null {
  const kept = trials.filter((trial) => trial.flaw === null && trial.gaps_us !== null);
  if (kept.length === 0) return null;
  return kept
    .flatMap((trial) => trial.gaps_us ?? [])
    .map((us) => us / 1000)
    .sort((a, b) => a - b);
}

/**
 * How often gaps of which length came. Lengths double along the axis, since a stall is a hundred times as long as a usual gap;
 * what came by the same read as the event before, with no gap, is told apart.
 */
export function distribution(gaps: number[]): { none: number; bars: Bar[] } {
  const some = gaps.filter((gap) => gap > 0);
  const none = gaps.length - some.length;
  const [least, most] = [some[0], some.at(-1)];
  if (least === undefined || most === undefined) return { none, bars: [] };
  // A lone length still has a width.
  const low = Math.log(least * 0.98);
  const high = Math.log(most * 1.02);
  const width = (high - low) / BARS;
  const bars = Array.from({ length: BARS }, (_, index) => ({
    from: Math.exp(low + index * width),
    to: Math.exp(low + (index + 1) * width),
    count: 0,
  }));
  for (const gap of some) {
    const bar = bars[Math.min(BARS - 1, Math.max(0, Math.floor((Math.log(gap) - low) / width)))];
    if (bar !== undefined) bar.count += 1;
  }
  return { none, bars };
}

/** Where a gap lies on the axis of its distribution, in percent. */
export function placeOf(bars: Bar[], gap: number): number {
  const [first, last] = [bars[0], bars.at(-1)];
  if (first === undefined || last === undefined || gap <= 0) return 0;
  const share = (Math.log(gap) - Math.log(first.from)) / (Math.log(last.to) - Math.log(first.from));
  return Math.min(100, Math.max(0, share * 100));
}
