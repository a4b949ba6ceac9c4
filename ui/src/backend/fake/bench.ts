/** Simulated benchmark runs: for development and tests, never in a production build. All figures are invented. */
import type { BenchPlan } from '../../api/BenchPlan';
import type { Comparison } from '../../api/Comparison';
import type { ComparedMetric } from '../../api/ComparedMetric';
import type { Disturbance } from '../../api/Disturbance';
import type { GaugeHistory } from '../../api/GaugeHistory';
import type { Run } from '../../api/Run';
import type { RunDetail } from '../../api/RunDetail';
import type { RunTrace } from '../../api/RunTrace';
import type { Summary } from '../../api/Summary';
import type { Sweep } from '../../api/Sweep';
import type { SweepPoint } from '../../api/SweepPoint';
import type { Trial } from '../../api/Trial';
import { emptyHistory } from '../../series';
import { manyModels } from './many';
import { hasMany, type Scene } from './scene-names';

const GB = 1e9;
/** A trial of either side and a pause after it: what one block of the simulated comparison takes. */
const BLOCK_MS = 9000;
export const LEVELS = [1, 2, 3, 4, 6, 8, 12, 16];

export const compiler: Disturbance = { what: 'processor', name: 'cc1plus', pid: 4711, percent: 96, seconds: 14 };

function summary(median: number, n: number, source = 'client'): Summary {
  return { median, low: median * 0.97, high: median * 1.024, n, interval: n < 6 ? 'range' : '95 %', source };
}

export function planOf(name: string, n: number): BenchPlan {
  const long = name === 'standard';
  return {
    name,
    prompt_words: long ? 384 : 64,
    max_tokens: long ? 128 : 64,
    trials: n,
    concurrency: name === 'sweep' ? LEVELS : [1],
    when_disturbed: 'mark',
    quiet_wait_s: 60,
    budget_s: null,
    arrivals: null,
    turns: null,
    replay: null,
    slo_ms: name === 'sweep' ? 300 : null,
  };
}

export function run(id: number, at: number, server: string, model: string, rate: number, n = 10): Run {
  const withTimings = server !== 'lmstudio';
  return {
    run_id: id,
    started_at: new Date(at).toISOString(),
    state: 'done',
    plan: planOf(n > 5 ? 'standard' : 'quick', n),
    server,
    model,
    server_version: server === 'ollama' ? '0.32.0' : 'b10068',
    trials: n,
    warmups: 2,
    ttft_ms: summary(2400 / rate, n),
    decode_tok_s: summary(rate, n),
    prefill_tok_s: summary(rate * 7.9, n),
    e2e_ms: summary(64_000 / rate, n),
    server_decode_tok_s: withTimings ? summary(rate * 1.02, n, 'server') : null,
    server_prefill_tok_s: withTimings ? summary(rate * 8.6, n, 'server') : null,
    gaps: { n: n * 63, p50_ms: 1000 / rate, p95_ms: 1250 / rate, p99_ms: 1900 / rate, longest_ms: 9000 / rate },
    peak_memory_bytes: 0.31 * GB,
    peak_gpu_memory_bytes: null,
    energy_j_per_token: null,
    disturbed: [],
    unsettled: false,
    against: null,
    sweep: null,
    open_loop: null,
    conversation: null,
    replay: null,
    loads: null,
    copies: null,
    reasons: [],
    fingerprint: { cpu: 'Example CPU, 8 cores', memory: '16.8 GB', os: 'Debian 12', power: 'mains', server: 'b10068' },
    note: null,
  };
}

/** The two runs of a comparison: the second answers 17 % faster and waits longer for nothing. */
export function pair(firstId: number, at: number, n = 10): [Run, Run] {
  const a = run(firstId, at, 'ollama', 'smollm2:135m', 49.7, n);
  const b = run(firstId + 1, at, 'llama-server', 'SmolLM2-135M-Instruct.Q4_1', 58.2, n);
  for (const [one, other, memory, energy] of [
    [a, b, 5.1, 0.71],
    [b, a, 4.4, 0.66],
  ] as const) {
    one.plan = planOf('ab', n);
    one.against = other.run_id;
    one.peak_memory_bytes = 0.4 * GB;
    one.peak_gpu_memory_bytes = memory * GB;
    one.energy_j_per_token = energy;
    one.fingerprint = { ...one.fingerprint, context: one === a ? '4096' : '8192', quantization: 'Q4_1' };
  }
  b.prefill_tok_s = summary((a.prefill_tok_s?.median ?? 1) * 0.985, n);
  return [a, b];
}

/** One level of a server with a little over six places: beyond them answers wait. */
function point(concurrency: number): SweepPoint {
  const out = 225 * Math.tanh(concurrency / 4);
  const queued = Math.max(0, concurrency - 6.5);
  const median = 180 + 9 * concurrency + 190 * queued;
  return {
    concurrency,
    requests: Math.max(6, concurrency * 4),
    failed: concurrency > 12 ? 1 : 0,
    out_tok_s: out,
    decode_tok_s: out / concurrency,
    decode: summary(out / concurrency, Math.max(6, concurrency * 4)),
    ttft_ms: {
      median,
      p95: median * 1.2 + 12 * queued ** 2,
      low: median * 0.96,
      high: median * 1.05,
      n: Math.max(6, concurrency * 4),
      interval: '95 %',
    },
    memory_bytes: (4.79 + 0.08 * concurrency) * GB,
    gpu_load_percent: Math.min(98, 82 + 3 * concurrency),
    power_w: 36 + Math.min(11, 2 * concurrency),
    goodput: concurrency <= 6 ? 1 - concurrency * 0.002 : Math.max(0.05, 0.9 - (concurrency - 6) * 0.11),
  };
}

export function sweepOf(levels: number[]): Sweep {
  const points = levels.map(point);
  const most = Math.max(...points.map((one) => one.out_tok_s ?? 0));
  const knee = points.find((one) => (one.out_tok_s ?? 0) >= 0.9 * most) ?? null;
  const best = points.find((one) => (one.out_tok_s ?? 0) >= 0.9 * most && (one.ttft_ms?.p95 ?? 1e9) <= 300) ?? null;
  return {
    points,
    knee: knee && { concurrency: knee.concurrency, method: 'the fewest with 90 % of the most that was seen' },
    knee_absent: null,
    best: best?.concurrency ?? null,
    again: -0.005,
    slo_ms: 300,
  };
}

export function sweepRun(id: number, at: number, levels = LEVELS): Run {
  const one = run(id, at, 'llama-server', 'SmolLM2-135M-Instruct.Q4_1', 58, 6);
  one.plan = { ...planOf('sweep', 6), concurrency: levels };
  one.sweep = sweepOf(levels);
  one.disturbed = [compiler];
  return one;
}

export function runs(scene: Scene, now: number): Run[] {
  if (scene === 'first-start' || scene === 'empty') return [];
  const hour = 3_600_000;
  const past: Run[] = [];
  for (let index = 0; index < 9; index += 1) {
    const onOllama = index % 3 === 1;
    const rate = (onOllama ? 96 : 108) + 4 * Math.sin(index * 2.1);
    const at = now - (index + 1) * 7.3 * hour;
    past.push(
      onOllama
        ? run(12 - index, at, 'ollama', 'smollm2:135m', rate)
        : run(12 - index, at, 'llama-server', 'SmolLM2-135M-Instruct.Q4_1', rate, index === 0 ? 5 : 10),
    );
  }
  const cut = past[3];
  if (cut) Object.assign(cut, { state: 'cut_off', note: 'Pilothouse was ended during the run.', trials: 4 });
  const [a, b] = pair(2, now - 70 * hour);
  past.push(b, a, sweepRun(1, now - 72 * hour));
  return hasMany(scene) ? runsOfMany(scene, now) : past;
}

/** A comparison today, and three runs of every other model in the weeks before. */
function runsOfMany(scene: Scene, now: number): Run[] {
  const day = 86_400_000;
  const measured = manyModels(scene === 'names').filter((one, index) => one.purpose === 'llm' && index % 2 === 0);
  const [first, second] = [measured[0], measured[1]];
  if (first === undefined || second === undefined) return [];
  const rate = (size: number | null) => Math.min(600, 250 / Math.max(0.3, (size ?? GB) / GB));
  const past: Run[] = [];
  for (const [index, one] of measured.entries())
    for (let back = 1; back <= 3; back += 1) {
      const at = now - (back * 9 + index * 0.3) * day;
      past.push(run(0, at, one.server, one.name, rate(one.size_bytes) * (1 + 0.01 * Math.sin(index + back))));
    }
  past.sort((a, b) => Date.parse(a.started_at) - Date.parse(b.started_at));
  for (const [index, one] of past.entries()) one.run_id = index + 1;
  const disturbed = past.at(-1);
  if (disturbed) disturbed.disturbed = [compiler];
  const [a, b] = pair(past.length + 1, now - 3 * 3_600_000);
  Object.assign(a, { server: first.server, model: first.name });
  Object.assign(b, { server: second.server, model: second.name });
  return [b, a, ...past.reverse()];
}

export function trials(of: Run): Trial[] {
  return of.sweep === null ? inTurn(of) : of.sweep.points.flatMap(atLevel);
}

function inTurn(of: Run): Trial[] {
  const list: Trial[] = [];
  const paired = of.against !== null;
  for (let seq = 1; seq <= of.warmups + of.trials; seq += 1) {
    const rate = (of.decode_tok_s?.median ?? 100) * (1 + 0.02 * Math.sin(seq * 3.3 + of.run_id));
    const total_ms = 64_000 / rate;
    const block = seq - of.warmups;
    // Of two blocks the first begins with one side and the second with the other.
    const second = paired && (block + of.run_id) % 2 === 0;
    const begun_ms = paired ? 3000 + block * BLOCK_MS + (second ? BLOCK_MS / 2 : 0) : (seq - 1) * (total_ms + 300);
    list.push({
      ...trial(seq, rate),
      // As the engine counts: from 0, warm-ups first.
      seq: seq - 1,
      phase: seq <= of.warmups ? 'warmup' : 'measured',
      gaps_us: seq <= of.warmups ? null : trial(seq, rate).gaps_us,
      block: paired && block > 0 ? block : null,
      begun_ms: paired && block <= 0 ? seq * 1200 : begun_ms,
      total_ms: paired ? (total_ms / 1300) * BLOCK_MS * 0.4 : total_ms,
      decode_tok_s: seq === 1 ? rate * 0.8 : rate,
      cached_tokens: seq === 1 ? 0 : 1,
      server_decode_tok_s: of.server_decode_tok_s ? rate * 1.02 : null,
      server_prefill_tok_s: of.server_prefill_tok_s ? rate * 8.6 : null,
      flaw: seq === of.warmups + 3 ? 'another request came in between' : null,
    });
  }
  return list;
}

function atLevel(level: SweepPoint): Trial[] {
  return Array.from({ length: level.requests }, (_, index) => ({
    ...trial(level.concurrency * 100 + index, level.decode_tok_s ?? 1),
    concurrency: level.concurrency,
    ttft_ms: level.ttft_ms && level.ttft_ms.median * (1 + 0.1 * Math.sin(index * 2.7)),
  }));
}

function trial(seq: number, rate: number): Trial {
  return {
    seq,
    phase: 'measured',
    block: null,
    concurrency: null,
    begun_ms: null,
    late_ms: 0,
    turn: null,
    prefix: null,
    ttft_ms: 2400 / rate,
    decode_tok_s: rate,
    prefill_tok_s: rate * 7.9,
    total_ms: 64_000 / rate,
    output_tokens: 64,
    prompt_tokens: 71,
    cached_tokens: 1,
    server_decode_tok_s: null,
    server_prefill_tok_s: null,
    finish: 'length',
    flaw: null,
    gaps_us: Array.from({ length: 63 }, (_, index) => {
      // One in fifty waits, as behind a page that is written out.
      const stall = (index * 7 + seq) % 50 === 0 ? 6 : 1;
      return Math.round((1e6 / rate) * stall * (1 + 0.08 * Math.sin(index * 1.7 + seq)));
    }),
  };
}

/** What the gauges showed: the GPU works while a request of either side is under way, less with the slower one. */
export function traceOf(of: Run, other: Run | null, scene: Scene): GaugeHistory {
  const history = emptyHistory();
  const both = other === null ? [of] : [of, other];
  const spans = both.flatMap((one) =>
    trials(one).map((each) => ({ from: each.begun_ms ?? 0, to: (each.begun_ms ?? 0) + each.total_ms, one })),
  );
  const until = Math.max(...spans.map((span) => span.to));
  const begin = Date.parse(of.started_at);
  const withGpu = scene === 'gpu' || scene === 'gpus';
  history.step_ms = 250;
  for (let at = 0; at <= until; at += history.step_ms) {
    const now = spans.find((span) => at >= span.from && at < span.to)?.one ?? null;
    const share = now === null ? 0.04 : now.run_id === Math.max(...both.map((one) => one.run_id)) ? 0.9 : 0.73;
    const noise = 1 + 0.02 * Math.sin(at / 170) + 0.015 * Math.sin(at / 61);
    history.at_ms.push(begin + at);
    history.cpu_percent.push((withGpu ? 12 : 8 + 60 * share) * noise);
    history.memory_used_bytes.push(9.2 * GB);
    history.swap_used_bytes.push(0);
    history.gpu_load_percent.push(withGpu ? Math.min(100, share * 100 * noise) : null);
    history.gpu_memory_used_bytes.push(withGpu ? 5.1 * GB : null);
    history.gpu_power_w.push(withGpu ? 4 + 40 * share * noise : null);
    history.servers_memory_bytes.push(0.73 * GB);
  }
  return history;
}

/** The run's own trace: one card, held down by its power limit where there are several. */
export function cardsOf(trace: GaugeHistory, scene: Scene): RunTrace | null {
  if (scene !== 'gpu' && scene !== 'gpus') return null;
  const begin = trace.at_ms[0] ?? 0;
  const card = {
    name: scene === 'gpus' ? 'NVIDIA H100 80GB HBM3' : 'RTX 4070',
    load_percent: trace.gpu_load_percent,
    memory_used_bytes: trace.gpu_memory_used_bytes,
    power_w: trace.gpu_power_w,
    temperature_c: trace.at_ms.map((_, index) => 55 + 6 * Math.sin(index / 40)),
    clock_mhz: trace.at_ms.map(() => 2475),
    throttle: trace.gpu_load_percent.map((load) => (scene === 'gpus' && (load ?? 0) > 88 ? ['power limit'] : [])),
  };
  return {
    at_ms: trace.at_ms.map((at) => at - begin),
    instance_memory_bytes: trace.servers_memory_bytes,
    cards: [card],
    by_minute: null,
  };
}

/** A run with all that is known of it. `other`: the other side of a comparison. */
export function detailOf(of: Run, other: Run | null, scene: Scene): RunDetail {
  const trace = traceOf(of, other, scene);
  return { run: of, trials: trials(of), trace, cards: cardsOf(trace, scene) };
}

const figures: [string, (of: Run) => number | null, lower: boolean][] = [
  ['decode_tok_s', (of) => of.decode_tok_s?.median ?? null, false],
  ['prefill_tok_s', (of) => of.prefill_tok_s?.median ?? null, false],
  ['ttft_ms', (of) => of.ttft_ms?.median ?? null, true],
  ['e2e_ms', (of) => of.e2e_ms?.median ?? null, true],
  ['memory_bytes', memoryOf, true],
  ['energy_j_per_token', (of) => of.energy_j_per_token, true],
];

function memoryOf(of: Run): number | null {
  if (of.peak_memory_bytes === null && of.peak_gpu_memory_bytes === null) return null;
  return (of.peak_memory_bytes ?? 0) + (of.peak_gpu_memory_bytes ?? 0);
}

export function comparisonOf(a: Run, b: Run): Comparison {
  const paired = a.against === b.run_id;
  const metrics = figures.map(([name, value, lower]) => compared(name, value(a), value(b), lower, paired));
  const decode = metrics[0]?.ratio?.median ?? 1;
  const [fast, slow] = decode > 1 ? [b, a] : [a, b];
  const percent = Math.round((Math.max(decode, 1 / decode) - 1) * 100);
  return {
    a,
    b,
    paired,
    metrics,
    unmatched: unmatchedOf(a, b),
    disturbed: [...a.disturbed, ...b.disturbed],
    noise_floor: { ratio: 0.01, source: 'assumed' },
    sentence: `${fast.model} on ${fast.server} decodes ${percent} % faster than ${slow.model} on ${slow.server}`,
  };
}

function compared(name: string, a: number | null, b: number | null, lower: boolean, paired: boolean): ComparedMetric {
  const none = { name, a, b, ratio: null, p: null, n: 0, verdict: 'not_comparable' } as const;
  if (a === null || b === null) return { ...none, reason: 'one side has no figure for it' };
  if (name === 'ttft_ms' && !paired) return { ...none, reason: 'prompts of different length: 384 and 64 words' };
  const median = b / a;
  const spread = name === 'memory_bytes' ? 0.004 : name === 'prefill_tok_s' ? 0.025 : 0.02;
  const ratio = { median, low: median * (1 - spread), high: median * (1 + spread), level: 0.95 };
  const certain = ratio.low > 1 || ratio.high < 1;
  return {
    name,
    a,
    b,
    ratio,
    p: certain ? 0.002 : 0.31,
    n: 10,
    verdict: !certain ? 'no_difference' : median < 1 === lower ? 'b_faster' : 'a_faster',
    reason: `${paired ? 'pairs of trials side by side' : 'trials that were not measured in turns'}, median ratio`,
  };
}

function unmatchedOf(a: Run, b: Run): Comparison['unmatched'] {
  const [mine, other] = [a.fingerprint.context ?? '4096', b.fingerprint.context ?? '4096'];
  if (mine === other) return [];
  return [{ what: 'context', a: mine, b: other, meaning: 'the one with the larger context keeps more memory' }];
}
