import { describe, expect, it } from 'vitest';
import type { ComparedMetric } from '../src/api/ComparedMetric';
import type { RunDetail } from '../src/api/RunDetail';
import { comparisonOf, detailOf, pair, run, traceOf, trials } from '../src/backend/fake/bench';
import {
  blocksOf,
  figuresOf,
  isKnown,
  matchedRows,
  ratioPlace,
  ratioScale,
  ratioTicks,
  segmentsOf,
  sentenceParts,
  sideNames,
  verdictWords,
} from '../src/bench/comparison';
import { disturbanceInFull, disturbers } from '../src/bench/disturbance';
import { heldDown, readingsOf } from '../src/bench/readings';
import { reasonsOf, whileAnswering } from '../src/bench/reasons';
import { segmentAt, shownColumns, timelinesOf, unionOf } from '../src/bench/timeline';
import type { ComparedName } from '../src/text';

const plain = (text: string | null) => text?.replaceAll('\u00a0', ' ') ?? null;

function metric(
  name: ComparedName,
  ends: [number, number, number] | null,
  verdict: ComparedMetric['verdict'],
): ComparedMetric & { name: ComparedName } {
  const ratio = ends && { median: ends[0], low: ends[1], high: ends[2], level: 0.95 };
  return { name, a: 100, b: ends ? 100 * ends[0] : null, ratio, p: null, n: 10, verdict, reason: null };
}

describe('the words of a verdict', () => {
  it.each([
    ['decode_tok_s', [1.17, 1.15, 1.19], 'b_faster', '17 % faster', '15 – 19', 'better'],
    ['decode_tok_s', [0.83, 0.8, 0.86], 'a_faster', '17 % slower', '14 – 20', 'worse'],
    ['ttft_ms', [0.89, 0.86, 0.92], 'b_faster', '11 % sooner', '8 – 14', 'better'],
    ['ttft_ms', [1.3, 1.21, 1.4], 'a_faster', '30 % later', '21 – 40', 'worse'],
    ['e2e_ms', [0.9, 0.87, 0.94], 'b_faster', '10 % shorter', '6 – 13', 'better'],
    ['memory_bytes', [0.863, 0.862, 0.871], 'b_faster', '14 % less', '13 – 14', 'better'],
    ['energy_j_per_token', [1.0214, 1.0181, 1.0266], 'a_faster', '2.1 % more', '1.8 – 2.7', 'worse'],
    ['prefill_tok_s', [0.985, 0.96, 1.01], 'no_difference', 'no difference', '−4 – 1', 'same'],
    ['prefill_tok_s', [1.001, 0.9999, 1.0021], 'no_difference', 'no difference', '0.0 – 0.2', 'same'],
    ['decode_tok_s', [2.31, 2.1, 2.52], 'b_faster', '131 % faster', '110 – 152', 'better'],
    ['decode_tok_s', null, 'not_comparable', 'not comparable', null, 'none'],
    ['ttft_ms', [0.5, 0.4, 0.6], 'not_comparable', 'not comparable', null, 'none'],
  ] as const)('%s %j %s: %s %s', (name, ends, verdict, text, range, tone) => {
    const words = verdictWords(metric(name, ends && [...ends], verdict));
    expect([plain(words.text), plain(words.range), words.tone]).toEqual([text, range, tone]);
  });
});

it('calls a range a range, and says no ends where each side has one value', () => {
  const of = (ends: [number, number, number]) => {
    const metricOf = metric('memory_bytes', ends, 'b_faster');
    return plain(verdictWords({ ...metricOf, ratio: { ...metricOf.ratio!, level: 0 } }).range);
  };
  expect(of([0.8, 0.7, 0.9])).toBe('range 10 – 30');
  expect(of([0.8, 0.8, 0.8])).toBeNull();
});

describe('the sentence', () => {
  const titles = { ollama: 'Ollama', lmstudio: 'LM Studio', 'llama-server': 'llama-server' };
  it.each([
    ['lmstudio decodes 17 % faster than ollama', 'LM Studio decodes 17 % faster than Ollama', null],
    [
      'ollama decodes 5 % faster than lmstudio; not the same weights, A against B; per byte 7 %',
      'Ollama decodes 5 % faster than LM Studio',
      'Not the same weights, A against B; per byte 7 %.',
    ],
    ['hf.co/ollama-x on ollama: no difference', 'hf.co/ollama-x on Ollama: no difference', null],
    ['Not comparable, because nothing was measured', 'Not comparable, because nothing was measured', null],
    ['', '', null],
  ])('%s', (sentence, head, rest) => expect(sentenceParts(sentence, titles)).toEqual({ head, rest }));
});

describe('the axis of ratios', () => {
  const wide = ratioScale([
    metric('decode_tok_s', [1.17, 1.15, 1.19], 'b_faster'),
    metric('ttft_ms', null, 'not_comparable'),
  ]);

  it('has no difference in its middle, and as much room on either side', () => {
    expect(ratioPlace(wide, 1)).toBe(50);
    expect(ratioPlace(wide, 1.19) - 50).toBeCloseTo(50 - ratioPlace(wide, 1 / 1.19));
    expect(ratioPlace(wide, 1.19)).toBeLessThan(100);
    expect(ratioPlace(wide, 9)).toBe(100);
  });

  it('does not blow noise up', () => {
    const narrow = ratioScale([metric('decode_tok_s', [1.001, 0.999, 1.003], 'no_difference')]);
    expect(ratioPlace(narrow, 1.003) - ratioPlace(narrow, 0.999)).toBeLessThan(6);
  });

  it.each([
    [1.05, ['−2 %', 'same', '+2 %']],
    [1.21, ['−10 %', 'same', '+10 %']],
    [1.9, ['same', '+50 %']],
    [4, ['same', '+100 %']],
  ])('has round steps that lie on it: %s', (reach, labels) => {
    const ticks = ratioTicks({ reach });
    expect(ticks.map((tick) => plain(tick.label))).toEqual(labels);
    for (const { ratio } of ticks) expect(Math.abs(Math.log(ratio))).toBeLessThanOrEqual(Math.log(reach));
  });
});

it('writes both figures of a metric in one unit', () => {
  const of = (name: ComparedName, a: number | null, b: number | null) =>
    figuresOf({ ...metric(name, null, 'not_comparable'), a, b });
  expect(of('e2e_ms', 950, 1100)).toEqual({ a: '0.950', b: '1.10', unit: 's' });
  expect(of('ttft_ms', 236, 210)).toEqual({ a: '236', b: '210', unit: 'ms' });
  expect(of('memory_bytes', 0.9e9, 5.1e9)).toEqual({ a: '0.900', b: '5.10', unit: 'GB' });
  expect(of('memory_bytes', 98e6, null)).toEqual({ a: '98.0', b: null, unit: 'MB' });
  expect(of('energy_j_per_token', 0.71, 0.66).unit).toBe('J per token');
});

describe('two runs', () => {
  const [a, b] = pair(7, Date.parse('2026-11-28T09:12:00Z'));
  const detail = (one: typeof a, scene: 'gpu' | 'gpus' | 'ready' = 'gpu'): RunDetail =>
    detailOf(one, one === a ? b : a, scene);
  const names = { a: 'Ollama', b: 'llama-server' };

  it('are called by what tells them apart', () => {
    const by = (left: typeof a, right: typeof a, paired = false) =>
      sideNames(
        { ...comparisonOf(left, right), paired },
        (one) => one.server,
        (one) => one.model,
        (one) => one.started_at,
      );
    expect(by(a, b)).toEqual({ a: 'ollama', b: 'llama-server' });
    expect(by(a, { ...b, server: a.server })).toEqual({ a: a.model, b: b.model });
    const update = { ...a, server_version: '0.33.1' };
    expect(by(a, update)).toEqual({ a: 'ollama 0.32.0', b: 'ollama 0.33.1' });
    expect(by(a, { ...a, started_at: 'later' })).toEqual({ a: a.started_at, b: 'later' });
    expect(by(a, a, true)).toEqual({ a: 'First', b: 'Second' });
  });

  it('are segments in the order of time; what one side did in a row is one', () => {
    const segments = segmentsOf(trials(a), trials(b));
    expect(segments.map((one) => one.from)).toEqual(segments.map((one) => one.from).sort((x, y) => x - y));
    expect(segments.every((one, index) => one.side !== segments[index - 1]?.side)).toBe(true);
    expect(segments.length).toBeGreaterThan(5);
    const alone = segmentsOf([], trials(b), 1000);
    expect(alone).toHaveLength(1);
    expect(alone[0]?.from).toBe(
      1000 + Math.min(...trials(b).map((one) => (one.block ? (one.begun_ms ?? 0) : Infinity))),
    );
    expect(
      segmentsOf(
        trials(a).map((one) => ({ ...one, begun_ms: null })),
        [],
      ),
    ).toEqual([]);
  });

  it('have a trial of either side in each block', () => {
    const blocks = blocksOf(trials(a), trials(b));
    expect(blocks.map((one) => one.block)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(blocks.every((one) => one.a !== null && one.b !== null)).toBe(true);
    expect(blocksOf(trials(a).slice(0, 3), trials(b))[1]).toMatchObject({ block: 2, a: null });
  });

  it('tell first what differs, then what is the same, and do not call what is compared a setting', () => {
    const untold = { chip: 'not reported' };
    const of = comparisonOf(
      { ...a, fingerprint: { ...a.fingerprint, ...untold, server_version: '0.32.0' } },
      { ...b, fingerprint: { ...b.fingerprint, ...untold, server_version: 'b10068' } },
    );
    const rows = matchedRows(of);
    expect(rows[0]).toMatchObject({ what: 'context', a: '4096', b: '8192', state: 'differs' });
    expect(rows[0]?.meaning).toMatch(/larger context/);
    const names = rows.map((row) => row.what);
    expect(names.filter((what) => what === 'context')).toHaveLength(1);
    expect(names).not.toContain('server');
    expect(names).not.toContain('server version');
    expect(rows.find((row) => row.what === 'cpu')).toMatchObject({ state: 'same', a: 'Example CPU, 8 cores' });
    expect(rows.at(-1)).toMatchObject({ what: 'chip', state: 'unknown' });
  });

  it('share one timeline when measured in turns, and have one each when not', () => {
    expect(timelinesOf(comparisonOf(a, b), detail(a), detail(b))).toHaveLength(1);
    const apart = { ...comparisonOf(a, b), paired: false };
    const each = timelinesOf(apart, detail(a), detail(b));
    expect(each.map((one) => new Set(one.segments.map((segment) => segment.side)).size)).toEqual([1, 1]);
    expect(timelinesOf(apart, { ...detail(a), trace: null, cards: null }, detail(b))).toHaveLength(1);
    expect(
      timelinesOf(
        comparisonOf(a, b),
        { ...detail(a), trace: null, cards: null },
        { ...detail(b), trace: null, cards: null },
      ),
    ).toEqual([]);
  });

  it('have the rows of both traces once and in order', () => {
    const [left, right] = [traceOf(a, null, 'gpu'), traceOf(b, null, 'gpu')];
    const united = unionOf(left, right);
    const times = united?.at_ms ?? [];
    expect(times).toEqual([...new Set([...left.at_ms, ...right.at_ms])].sort((x, y) => x - y));
    expect(united?.cpu_percent).toHaveLength(times.length);
    expect(unionOf(null, right)).toBe(right);
  });

  it('show the GPU where it is known, else the processor', () => {
    expect(shownColumns(traceOf(a, b, 'gpu'))).toEqual(['gpu_load_percent', 'gpu_power_w']);
    expect(shownColumns(traceOf(a, b, 'ready'))).toEqual(['cpu_percent', 'servers_memory_bytes']);
    const segments = segmentsOf(trials(a), trials(b));
    expect(segmentAt(segments, (segments[1]?.from ?? 0) + 5)).toBe(segments[1]);
    expect(segmentAt(segments, -1)).toBeNull();
  });

  it('explain with readings of the answers only', () => {
    const loads = whileAnswering(detail(a), 'gpu_load_percent');
    expect(Math.min(...loads)).toBeGreaterThan(60);
    expect(loads.length).toBeLessThan(detail(a).trace?.at_ms.length ?? 0);
    const said = reasonsOf(comparisonOf(a, b), detail(a), detail(b), names).map(plain);
    expect(said[0]).toMatch(/^GPU while answering: Ollama 73 %, llama-server 90 %\.$/);
    expect(said).toContain('No swapping.');
    expect(said.join(' ')).not.toMatch(/CPU|idle/);
  });

  it('read the run’s own trace where it has cards, else the gauges', () => {
    const own = readingsOf(detail(a));
    expect(own).not.toBe(detail(a).trace);
    expect(own?.at_ms[0]).toBe(Date.parse(a.started_at));
    expect(own?.step_ms).toBe(250);
    expect(readingsOf({ ...detail(a), cards: null })?.cpu_percent[0]).not.toBeNull();
    const two = detail(a).cards!;
    const [card] = two.cards;
    const added = readingsOf({ ...detail(a), cards: { ...two, cards: [card!, { ...card!, load_percent: [] }] } });
    expect(added?.gpu_power_w[0]).toBeCloseTo(2 * (card?.power_w[0] ?? 0));
    expect(added?.gpu_load_percent[0]).toBe(card?.load_percent[0]);
  });

  it('say what held a card down, and for how long', () => {
    const said = reasonsOf(comparisonOf(a, b), detail(a, 'gpu'), detail(b, 'gpus'), names).map(plain);
    expect(said.find((one) => one?.includes('slowed'))).toMatch(/^GPU slowed, llama-server: power limit, [\d.]+ s\.$/);
    expect(heldDown(null)).toEqual([]);
    expect(heldDown(detail(a, 'gpu').cards)).toEqual([]);
  });

  it('leave out what nothing is known of', () => {
    const bare = (one: RunDetail) => ({ ...one, trace: null, cards: null });
    const of = comparisonOf({ ...a, server_decode_tok_s: null }, b);
    expect(reasonsOf({ ...of, disturbed: [] }, bare(detail(a)), bare(detail(b)), names)).toEqual([
      'No other program, no other request.',
    ]);
    const onCpu = reasonsOf(of, detail(a, 'ready'), detail(b, 'ready'), names).map(plain);
    expect(onCpu[0]).toMatch(/^CPU while answering: Ollama \d+ %/);
  });
});

it('knows the metrics of the engine and passes over others', () => {
  const [a, b] = pair(1, 0);
  expect(comparisonOf(a, b).metrics.every(isKnown)).toBe(true);
  expect(isKnown({ ...metric('ttft_ms', null, 'not_comparable'), name: 'colour' } as ComparedMetric)).toBe(false);
  expect(run(1, 0, 'ollama', 'x', 10).against).toBeNull();
});

describe('disturbances', () => {
  it.each([
    [
      { what: 'processor', name: 'cc1plus', pid: 4711, percent: 96, seconds: 14 },
      'cc1plus (PID 4711) uses 96 % of a core, for 14.0 s',
    ],
    [{ what: 'gpu', name: 'blender', pid: null, percent: null, seconds: 3 }, 'blender keeps a GPU busy, for 3.00 s'],
    [{ what: 'memory', name: '0.4 GB free', pid: null, percent: 97, seconds: 0 }, '97 % of memory in use: 0.4 GB free'],
    [
      { what: 'heat', name: 'the clock is held down: thermal limit', pid: null, percent: null, seconds: 0 },
      'the clock is held down: thermal limit',
    ],
    [
      { what: 'requests', name: 'two at Ollama', pid: null, percent: null, seconds: 0 },
      'other requests: two at Ollama',
    ],
  ] as const)('%j', (one, words) => expect(plain(disturbanceInFull(one))).toBe(words));

  it('name each disturber once, the longest first', () => {
    const one = (name: string, seconds: number) => ({ what: 'processor' as const, name, pid: 1, percent: 50, seconds });
    expect(disturbers([one('a', 1), one('b', 9), one('a', 3)])).toEqual(['b', 'a']);
  });
});
