/** Who disturbed a run, in words. */
import type { Disturbance } from '../api/Disturbance';
import type { Run } from '../api/Run';
import { duration, percent } from '../format';
import { comparison, disturbances, marks as words } from '../text';

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

/**
 * What is known against a run's figures, in few words that stand beside them wherever they are shown; null: nothing. The
 * engine says the same of them in notices and on the command line.
 */
export function markOf(run: Run): string | null {
  const heldDown = run.disturbed.some((one) => one.what === 'heat');
  const byOthers = run.disturbed.some((one) => one.what !== 'heat');
  const marks = [
    run.state === 'cut_off' && words.cutOff,
    run.state === 'cancelled' && words.cancelled,
    heldDown && words.throttled,
    byOthers && words.disturbed,
    run.unsettled && words.notSettled,
  ].filter((mark) => mark !== false);
  return marks.length === 0 ? null : marks.join(', ');
}

/** The same with who or what it was, for whoever points at the mark. */
export function markInFull(run: Run): string {
  return [...run.disturbed.map(disturbanceInFull), run.note].filter((part) => part !== null && part !== '').join('; ');
}
