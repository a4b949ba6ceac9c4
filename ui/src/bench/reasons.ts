/** What of a difference the readings explain: computed from the gauges during the answers, never guessed. */
import type { Comparison } from '../api/Comparison';
import type { GaugeHistory } from '../api/GaugeHistory';
import type { RunDetail } from '../api/RunDetail';
import { bytes, duration, percent, tokensPerSecond, watts } from '../format';
import type { Column } from '../series';
import { comparison as words } from '../text';
import type { Side } from './comparison';
import { heldDown, readingsOf } from './readings';

/** Fewer readings than this say nothing of an answer. */
const ENOUGH = 5;
/** Below this share of its time a GPU is idle. Percent. */
const IDLE = 10;
/** Mean shares that differ by less than this explain nothing. Percent. */
const ALIKE = 3;

type Names = Record<Side, string>;

/** Readings of a column while the side's requests were under way. */
export function whileAnswering(detail: RunDetail, column: Column): number[] {
  const { trials, run } = detail;
  const trace = readingsOf(detail);
  if (trace === null) return [];
  const begin = Date.parse(run.started_at);
  const spans = trials.filter((trial) => trial.phase === 'measured');
  const inside = (at: number) =>
    spans.some(
      ({ begun_ms, total_ms }) => begun_ms !== null && at >= begin + begun_ms && at <= begin + begun_ms + total_ms,
    );
  return trace.at_ms.flatMap((at, index) => {
    const value = trace[column][index] ?? null;
    return value !== null && inside(at) ? [value] : [];
  });
}

export function mean(values: number[]): number | null {
  return values.length < ENOUGH ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** In sentences, what was measured beside both runs. */
export function reasonsOf(of: Comparison, a: RunDetail, b: RunDetail, names: Names): string[] {
  return [
    meansOf(a, b, names, 'gpu_load_percent', percent, words.gpuMean),
    idleOf(a, b, names),
    meansOf(a, b, names, 'gpu_power_w', watts, words.power),
    heldDownWords(a, names.a),
    heldDownWords(b, names.b),
    ...(known(a, 'gpu_load_percent') ? [] : [meansOf(a, b, names, 'cpu_percent', percent, words.cpuMean)]),
    ownClocks(of, names),
    swapOf([a.trace, b.trace]),
    of.disturbed.length === 0 ? words.undisturbed : null,
  ].filter((sentence): sentence is string => sentence !== null);
}

function known(detail: RunDetail, column: Column): boolean {
  return readingsOf(detail)?.[column].some((value) => value !== null) ?? false;
}

function meansOf(
  a: RunDetail,
  b: RunDetail,
  names: Names,
  column: Column,
  write: (value: number) => string,
  sentence: (parts: string) => string,
): string | null {
  const [left, right] = [mean(whileAnswering(a, column)), mean(whileAnswering(b, column))];
  if (left === null || right === null) return null;
  return sentence(`${words.ofSide(write(left), names.a)}, ${words.ofSide(write(right), names.b)}`);
}

/** The share of readings during answers in which the GPU did next to nothing; said only where it tells the sides apart. */
function idleOf(a: RunDetail, b: RunDetail, names: Names): string | null {
  const [left, right] = [a, b].map((detail) => {
    const loads = whileAnswering(detail, 'gpu_load_percent');
    return loads.length < ENOUGH ? null : (loads.filter((load) => load < IDLE).length / loads.length) * 100;
  });
  if (left === null || left === undefined || right === null || right === undefined) return null;
  if (Math.abs(left - right) < ALIKE) return null;
  return words.gpuIdle(`${words.ofSide(percent(left), names.a)}, ${words.ofSide(percent(right), names.b)}`);
}

/** "llama-server was slowed by power limit for 12 s." */
function heldDownWords(detail: RunDetail, name: string): string | null {
  // What lasts a second of a run decides nothing.
  const held = heldDown(detail.cards).filter((one) => one.seconds >= 1);
  if (held.length === 0) return null;
  return words.heldDown(
    name,
    held.map(({ reason, seconds }) => words.heldFor(reason, duration(seconds * 1000))).join(', '),
  );
}

function ownClocks(of: Comparison, names: Names): string | null {
  const [left, right] = [of.a.server_decode_tok_s, of.b.server_decode_tok_s];
  if (left === null || right === null) return null;
  const said = [
    words.ofSide(tokensPerSecond(left.median), names.a),
    words.ofSide(tokensPerSecond(right.median), names.b),
  ];
  return words.ownClocks(said.join(', '));
}

/** How much swap grew over the runs. */
function swapOf(traces: (GaugeHistory | null)[]): string | null {
  const grown = traces.map((trace) => {
    const swap = trace?.swap_used_bytes.filter((value) => value !== null) ?? [];
    const [first, last] = [swap[0], swap.at(-1)];
    return first === undefined || last === undefined ? null : last - first;
  });
  if (grown.some((one) => one === null)) return null;
  const most = Math.max(...grown.map((one) => one ?? 0));
  // What the system moves by itself in a minute is less than this.
  return most > 20e6 ? words.swapped(bytes(most)) : words.notSwapped;
}
