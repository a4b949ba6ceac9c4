import { render, screen, within } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { beforeEach, describe, expect, it } from 'vitest';
import { FakeBackend } from '../src/backend/fake/backend';
import { detailOf, run } from '../src/backend/fake/bench';
import { historyUntil } from '../src/backend/fake/history';
import { Store } from '../src/store.svelte';
import Gauges from '../src/views/Gauges.svelte';
import RunTrace from '../src/views/RunTrace.svelte';
import { snapshotOf, TestVisibility } from './support';

beforeEach(() => localStorage.clear());

describe('the gauges', () => {
  it('let a longer past be chosen and say which one is shown', async () => {
    const store = new Store(new FakeBackend('gpu', 0), new TestVisibility());
    store.snapshot = snapshotOf('gpu');
    render(Gauges, { context: new Map([['store', store]]) });
    expect(screen.getByText('last 15 minutes')).toBeTruthy();
    const choice = within(screen.getByRole('group', { name: 'How far back' }));
    const pressed = () => choice.getAllByRole('button', { pressed: true }).map((button) => button.textContent?.trim());
    expect(pressed()).toEqual(['15 min']);
    await userEvent.click(choice.getByRole('button', { name: '24 h' }));
    expect(pressed()).toEqual(['24 h']);
    expect(screen.getByText('last 24 hours, 1 min means')).toBeTruthy();
    expect(screen.getByRole('slider', { name: 'CPU, last 24 hours, 1 min means' })).toBeTruthy();
    await expect.poll(() => store.gaugeHistory.step_ms).toBe(60_000);
    expect(store.gaugeHistory.high?.cpu_percent.length).toBe(store.gaugeHistory.at_ms.length);
    expect(store.gaugeHistory.cpu_percent).toContain(null);
  });

  /** A past of so many seconds, one sample a second. */
  function pastOf(seconds: number) {
    const history = historyUntil(1_795_940_000_000, 0, 'mac', seconds);
    const store = new Store(new FakeBackend('mac', 0), new TestVisibility());
    store.snapshot = snapshotOf('mac');
    store.gaugeHistory = history;
    render(Gauges, { context: new Map([['store', store]]) });
    return history;
  }

  it.each([
    [240, 'last 4 minutes'],
    [45, 'last 45 seconds'],
    [899, 'last 15 minutes'],
  ])('say how far back there is anything: %d s', (seconds, words) => {
    pastOf(seconds);
    expect(screen.getByText(words)).toBeTruthy();
  });

  it('have one cursor, by keyboard too, that says what it stands on', async () => {
    const { at_ms } = pastOf(240);
    const memory = screen.getByRole('slider', { name: /^Memory, last 4\sminutes$/ });
    const cpu = screen.getByRole('slider', { name: /^CPU, last 4\sminutes$/ });
    memory.focus();
    await userEvent.keyboard('{Home}{ArrowRight}');
    for (const plot of [memory, cpu]) expect(plot.getAttribute('aria-valuenow')).toBe('1');
    expect(memory.getAttribute('aria-valuetext')).toMatch(/^\d\d:\d\d:\d\d: [\d.]+\sGB$/);
    expect(cpu.getAttribute('aria-valuetext')).toMatch(/ [\d.]+\s%$/);
    await userEvent.keyboard('{End}');
    expect(memory.getAttribute('aria-valuenow')).toBe(String(at_ms.length - 1));
    await userEvent.keyboard('{Escape}');
    expect(screen.getByText('last 4 minutes')).toBeTruthy();
  });
});

describe('a run’s gauges', () => {
  it('show the range of what is known and nothing of what is not', () => {
    const trace = historyUntil(Date.now(), 0, 'ready', 30, 200);
    render(RunTrace, { trace: { ...trace, cpu_percent: trace.cpu_percent.map((_, index) => 12 + (index % 2) * 30) } });
    expect(screen.getByText(/^12\s% – 42\s%$/)).toBeTruthy();
    expect(screen.getByText('Servers')).toBeTruthy();
    expect(screen.queryByText('GPU')).toBeNull();
  });

  it('keep cards apart, with what held each down', () => {
    const of = run(1, Date.now(), 'ollama', 'smollm2:135m', 60, 10);
    const { trace, cards } = detailOf(of, null, 'gpus');
    const [card] = cards!.cards;
    const silent = { ...card!, name: 'AMD GPU', power_w: [null], throttle: [null] };
    render(RunTrace, { trace, cards: { ...cards!, cards: [card!, silent] } });
    const rows = within(screen.getByTestId('run-cards')).getAllByRole('row').slice(1);
    expect(rows.map((row) => row.querySelector('th')?.textContent)).toEqual(['NVIDIA H100 80GB HBM3', 'AMD GPU']);
    expect(rows[0]?.textContent).toMatch(/power limit, [\d.]+\ss/);
    expect(rows[1]?.querySelectorAll('td')[2]?.textContent?.trim()).toBe('–');
    expect(rows[1]?.textContent?.trim()).toMatch(/not reported$/);
  });

  it('say when they were not kept', () => {
    render(RunTrace, { trace: null });
    expect(screen.getByText('Of this run the gauges were not kept.')).toBeTruthy();
  });
});
