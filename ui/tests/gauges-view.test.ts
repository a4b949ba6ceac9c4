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
    expect(screen.getByRole('img', { name: 'CPU, last 24 hours, 1 min means' })).toBeTruthy();
    await expect.poll(() => store.gaugeHistory.step_ms).toBe(60_000);
    expect(store.gaugeHistory.high?.cpu_percent.length).toBe(store.gaugeHistory.at_ms.length);
    expect(store.gaugeHistory.cpu_percent).toContain(null);
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
