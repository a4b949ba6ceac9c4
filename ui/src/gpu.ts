/** One line per GPU: what it takes, how warm and how fast it is, and what slows it down. */
import type { GpuReading } from './api/GpuReading';
import { degrees, dotted, megahertz, percent, watts } from './format';
import { gauges as words } from './text';

export interface GpuLine {
  /** Where there are several. */
  name: string | null;
  text: string;
  /** `null`: nothing holds the clock down, or it is not told. */
  slowed: string | null;
  /** On hover: where it comes from, and what is missing why. */
  source: string;
}

/** GPUs of which nothing is known to say have no line, unless there are several. */
export function gpuLines(gpus: GpuReading[]): GpuLine[] {
  const lines = gpus.map((gpu, index) => line(gpu, gpus.length > 1 ? nameOf(gpus, index) : null));
  return lines.filter((one) => one.name !== null || one.text !== '' || one.slowed !== null);
}

function line(gpu: GpuReading, name: string | null): GpuLine {
  const at = words.gpuLine;
  const power = gpu.power_w === null ? null : watts(gpu.power_w);
  const readings: [string, string | null][] = [
    [at.power, power !== null && gpu.power_limit_w !== null ? at.powerOf(power, watts(gpu.power_limit_w)) : power],
    [at.temperature, gpu.temperature_c === null ? null : degrees(gpu.temperature_c)],
    [at.clock, gpu.clock_mhz === null ? null : megahertz(gpu.clock_mhz)],
  ];
  const load = name === null || gpu.load_percent === null ? null : percent(gpu.load_percent);
  const known = dotted(load, ...readings.map(([, value]) => value));
  const missing = readings.filter(([, value]) => value === null).map(([what]) => what);
  return {
    name,
    // One that tells nothing says why in place of its readings.
    text: known === '' && name !== null ? (gpu.absent ?? at.driverSilent) : known,
    slowed: gpu.throttle === null || gpu.throttle.length === 0 ? null : at.slowed(gpu.throttle),
    source: dotted(gpu.source, missing.length > 0 && at.missing(missing, gpu.absent ?? at.driverSilent)),
  };
}

function nameOf(gpus: GpuReading[], index: number): string {
  const name = gpus[index]?.name ?? '';
  const same = gpus.filter((gpu) => gpu.name === name).length > 1;
  const number = gpus.slice(0, index + 1).filter((gpu) => gpu.name === name).length;
  return same ? words.gpuLine.numbered(name, number) : name;
}
