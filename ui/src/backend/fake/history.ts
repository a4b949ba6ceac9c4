/** The simulated gauges' past: for development and tests, never in a production build. All figures are invented. */
import type { GaugeColumns } from '../../api/GaugeColumns';
import type { GaugeHistory } from '../../api/GaugeHistory';
import type { Gauges } from '../../api/Gauges';
import { emptyHistory } from '../../series';
import type { Scene } from './scene-names';
import { gaugesAt } from './scenes';

/** Up to 15 minutes samples, beyond means with their band and a gap in the middle. */
export function historyUntil(
  ms: number,
  since: number,
  scene: Scene,
  span_s = 900,
  step = stepOf(span_s),
): GaugeHistory {
  const history = emptyHistory();
  history.step_ms = step;
  const means = span_s > 900;
  const row = (to: GaugeColumns, gauges: Gauges | null, factor: number) => {
    const gpu = gauges?.gpus[0];
    const of = (value: number | null | undefined) => (value === null || value === undefined ? null : value * factor);
    to.cpu_percent.push(of(gauges?.cpu_percent));
    to.memory_used_bytes.push(of(gauges?.memory_used_bytes));
    to.swap_used_bytes.push(of(gauges?.swap_used_bytes));
    to.gpu_load_percent.push(of(gpu?.load_percent));
    to.gpu_memory_used_bytes.push(of(gpu?.memory_used_bytes));
    to.gpu_power_w.push(of(gpu?.power_w));
    to.servers_memory_bytes.push(gauges === null || scene === 'first-start' ? null : 0.73e9 * factor);
  };
  const [low, high] = [emptyHistory(), emptyHistory()];
  const begin = ms - span_s * 1000;
  for (let at = Math.max(since + step, begin); at <= ms; at += step) {
    const share = (at - begin) / (span_s * 1000);
    const gauges = means && share > 0.45 && share < 0.5 ? null : gaugesAt(at, scene);
    history.at_ms.push(at);
    row(history, gauges, 1);
    row(low, gauges, 0.8);
    row(high, gauges, 1.3);
  }
  if (means) Object.assign(history, { low, high });
  return history;
}

function stepOf(span_s: number): number {
  if (span_s <= 900) return 1000;
  return span_s <= 3600 ? 10_000 : span_s <= 86_400 ? 60_000 : 1_800_000;
}
