/** The figures of a run as its page lists them, each with what it means and where it comes from. */
import type { Run } from '../api/Run';
import type { Summary } from '../api/Summary';
import { bytes, figure } from '../format';
import { bench as words } from '../text';

export interface RunFigure {
  key: keyof typeof words.meanings;
  title: string;
  /** With each figure; empty where the figure has its own. */
  unit: string;
  client: Summary | null;
  server: Summary | null;
  /** Whether servers have a figure of their own for it, though not each tells it. */
  serverTells: boolean;
  /** A figure without a spread; null: it is a summary, or not known. */
  single: string | null;
  source: string;
  /** Why there is no spread. */
  spread: string | null;
}

export function figuresOfRun(run: Run): RunFigure[] {
  const timed = (
    key: RunFigure['key'],
    title: string,
    unit: string,
    client: Summary | null,
    server?: Summary | null,
  ): RunFigure => ({
    key,
    title,
    unit,
    client,
    server: server ?? null,
    serverTells: server !== undefined,
    single: null,
    source: server == null ? words.clientSource : `${words.clientSource} ${words.serverSource}`,
    spread: null,
  });
  const single = (key: RunFigure['key'], title: string, unit: string, value: string | null, spread: string) => ({
    ...timed(key, title, unit, null),
    single: value,
    source: words.gaugeSource,
    spread,
  });
  const size = (value: number | null) => (value === null ? null : bytes(value));
  const figures = [
    timed('decode', words.decode, 'tok/s', run.decode_tok_s, run.server_decode_tok_s),
    timed('prefill', words.prefill, 'tok/s', run.prefill_tok_s, run.server_prefill_tok_s),
    timed('ttft', words.ttft, 'ms', run.ttft_ms),
    timed('e2e', words.total, 'ms', run.e2e_ms),
    single('peak', words.peak, '', size(run.peak_memory_bytes), words.oneReading),
  ];
  // Most machines have no memory of a GPU's own, and most GPUs do not tell their power: no row of what cannot be.
  if (run.peak_gpu_memory_bytes !== null)
    figures.push(single('peakGpu', words.peakGpu, '', size(run.peak_gpu_memory_bytes), words.oneReading));
  if (run.energy_j_per_token !== null)
    figures.push(single('energy', words.energy, words.perToken, figure(run.energy_j_per_token), words.oneSum));
  return figures;
}

/** Why trials do not count, each reason once with how often. */
export function flawsOf(trials: { flaw: string | null }[]): { flaw: string; times: number }[] {
  const times = new Map<string, number>();
  for (const { flaw } of trials) if (flaw !== null) times.set(flaw, (times.get(flaw) ?? 0) + 1);
  return [...times].map(([flaw, n]) => ({ flaw, times: n })).sort((a, b) => b.times - a.times);
}
