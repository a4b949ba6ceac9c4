import { screen, within } from '@testing-library/svelte';
import { describe, expect, it } from 'vitest';
import { gaugesAt } from '../src/backend/fake/scenes';
import { gpuLines } from '../src/gpu';
import Gauges from '../src/views/Gauges.svelte';
import { renderWith, snapshotOf } from './support';

/** The readings of a scene's first GPU, with changes. */
function first(change: Partial<ReturnType<typeof gaugesAt>['gpus'][number]> = {}) {
  const [gpu] = gaugesAt(0, 'gpu').gpus;
  if (gpu === undefined) throw new Error('the scene has no GPU');
  return { ...gpu, ...change };
}

const plain = (text: string | null | undefined) => (text ?? '').replaceAll('\u00a0', ' ').replace(/\s+/g, ' ').trim();

describe('the line of a GPU', () => {
  it('says power, temperature, clock and what slows it down', () => {
    const change = { power_w: 145.2, power_limit_w: 700, temperature_c: 62, clock_mhz: 1980 };
    const [line] = gpuLines([first({ ...change, throttle: ['power limit'] })]);
    expect(plain(line?.text)).toBe('145 W of 700 W · 62 °C · 1980 MHz');
    expect(line?.slowed).toBe('slowed: power limit');
    expect(line?.name).toBeNull();
    expect(gpuLines([first({ throttle: [] })])[0]?.slowed).toBeNull();
    expect(gpuLines([first({ throttle: null })])[0]?.slowed).toBeNull();
  });

  it('leaves out what is unknown and says on hover why', () => {
    const [line] = gpuLines([first({ power_w: null, temperature_c: null })]);
    expect(plain(line?.text)).toBe('2475 MHz');
    expect(line?.source).toBe('NVML · power, temperature not reported: the driver does not tell it');
    const nothing = { power_w: null, temperature_c: null, clock_mhz: null, load_percent: null };
    expect(gpuLines([first(nothing)])).toEqual([]);
    const asleep = { ...nothing, name: 'Arc', absent: 'asleep: not read' };
    expect(gpuLines([first(), first(asleep)])[1]).toMatchObject({ name: 'Arc', text: 'asleep: not read' });
  });

  it('tells two cards of one name apart', () => {
    expect(gpuLines([first(), first(), first({ name: 'Arc' })]).map((line) => line.name)).toEqual([
      'RTX 4070 (1)',
      'RTX 4070 (2)',
      'Arc',
    ]);
  });
});

describe('gauges', () => {
  it('shows a line for each of several GPUs', () => {
    renderWith(Gauges, snapshotOf('gpus'));
    const lines = screen.getAllByTestId('gpu-line').map((line) => plain(line.textContent));
    expect(lines[0]).toMatch(/^NVIDIA H100 80GB HBM3 .* 698 W of 700 W · 61 °C · 1620 MHz · slowed: power limit$/);
    expect(lines[1]).toMatch(/^AMD GPU 1002:744c .* 48 °C · 1250 MHz$/);
    expect(screen.getAllByTestId('gpu-line')[1]?.title).toContain('power not reported');
  });

  it('has no such line without a GPU, and one without a name for a single one', () => {
    renderWith(Gauges, snapshotOf('ready'));
    expect(screen.queryByTestId('gpu-line')).toBeNull();
  });

  it('gives the reason of a missing load and the level of memory', () => {
    const gauges = gaugesAt(0, 'gpu');
    gauges.memory_pressure = 'critical';
    gauges.gpus = [first({ load_percent: null, load_percent_absent: 'single processes only' })];
    renderWith(Gauges, snapshotOf('gpu', { gauges }));
    const load = within(screen.getByTestId('gauge-gpu_load_percent'));
    expect(load.getByText('not reported').title).toBe('single processes only');
    expect(within(screen.getByTestId('gauge-memory')).getByText(/^short · Memory of/)).toBeTruthy();
  });
});
