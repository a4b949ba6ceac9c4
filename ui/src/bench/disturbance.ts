/** Who disturbed a run, in words. */
import type { Disturbance } from '../api/Disturbance';
import { duration, percent } from '../format';
import { comparison, disturbances } from '../text';

/** "cc1plus uses 96 % of a core" */
export function disturbanceWords(one: Disturbance): string {
  return disturbances[one.what](one.name, one.percent === null ? null : percent(one.percent));
}

/** "cc1plus (PID 4711) uses 96 % of a core, for 14 s" */
export function disturbanceInFull(one: Disturbance): string {
  const named = one.pid === null ? one : { ...one, name: comparison.pid(one.name, one.pid) };
  const what = disturbanceWords(named);
  return one.seconds > 0 ? comparison.seconds(what, duration(one.seconds * 1000)) : what;
}

/** Each name once, in the order of their times. */
export function disturbers(all: Disturbance[]): string[] {
  const longestFirst = [...all].sort((x, y) => y.seconds - x.seconds);
  return [...new Set(longestFirst.map((one) => one.name))];
}
