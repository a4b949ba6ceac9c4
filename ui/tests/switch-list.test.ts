import { render, screen, within } from '@testing-library/svelte';
import { tick } from 'svelte';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import SwitchList from '../src/views/SwitchList.svelte';
import { Store } from '../src/store.svelte';
import { renderWith, ScriptedBackend, snapshotOf, TestVisibility } from './support';

const rows = () => screen.getAllByTestId('model-row').map((row) => row.dataset.id);
const filter = () => screen.getByTestId('model-filter');

describe('the switch list', () => {
  it('groups what can become active by server and names each row as the act that it is', () => {
    renderWith(SwitchList, snapshotOf());
    expect(rows()).toEqual([
      'llama-server/gemma-3-270m-it-Q4_K_M',
      'llama-server/SmolLM2-135M-Instruct.Q4_1',
      'ollama/llama3.1:8b',
      'ollama/qwen2.5:72b',
      'ollama/smollm2:135m',
    ]);
    expect(screen.getByRole('button', { name: /^Switch to SmolLM2 135M on Ollama/ })).toBeTruthy();
  });

  it('asks what the past says of the models when a run or a switch has ended, not with each snapshot', async () => {
    const backend = new ScriptedBackend();
    backend.answers.model_facts = () => ({ reply: 'model_facts', models: [] });
    const store = new Store(backend, new TestVisibility());
    const show = async (change: Parameters<typeof snapshotOf>[1]) => {
      store.snapshot = snapshotOf('ready', change);
      await tick();
    };
    await show({ revision: 1 });
    render(SwitchList, { props: { most: 6 }, context: new Map([['store', store]]) });
    for (let revision = 2; revision < 8; revision += 1) await show({ revision });
    expect(backend.of('model_facts')).toHaveLength(1);
    await show({ last_run: null });
    expect(backend.of('model_facts')).toHaveLength(2);
  });

  it('filters by every word, over name and server', async () => {
    renderWith(SwitchList, snapshotOf());
    await userEvent.type(filter(), 'ollama smol');
    expect(rows()).toEqual(['ollama/smollm2:135m']);
    await userEvent.type(filter(), ' nothing');
    expect(screen.queryAllByTestId('model-row')).toEqual([]);
    expect(screen.getByText(/No model matches/)).toBeTruthy();
  });

  it('is walked with the arrows, and Escape clears the filter', async () => {
    renderWith(SwitchList, snapshotOf());
    await userEvent.type(filter(), 'smol');
    await userEvent.keyboard('{ArrowDown}{ArrowDown}');
    expect((document.activeElement as HTMLElement).dataset.id).toBe('ollama/smollm2:135m');
    await userEvent.keyboard('{ArrowUp}{ArrowUp}');
    expect(document.activeElement).toBe(filter());
    await userEvent.keyboard('{Escape}');
    expect(rows()).toHaveLength(5);
  });

  it('switches with Enter on the row that has the focus', async () => {
    const { backend } = renderWith(SwitchList, snapshotOf());
    await userEvent.click(filter());
    await userEvent.keyboard('{ArrowDown}{Enter}');
    expect(backend.of('switch')).toEqual([
      {
        call: 'switch',
        model: 'llama-server/gemma-3-270m-it-Q4_K_M',
        server: 'llama-server',
        dry_run: false,
        now: false,
      },
    ]);
  });

  it('does not switch to what is active already', async () => {
    const { backend } = renderWith(SwitchList, snapshotOf());
    await userEvent.click(screen.getByRole('button', { current: true }));
    expect(backend.of('switch')).toEqual([]);
  });

  it('says before the click that a model does not fit', () => {
    renderWith(SwitchList, snapshotOf());
    const row = screen.getByRole('button', { name: /Qwen2.5 72B/ });
    expect(within(row).getByText(/Does not fit: the weights take 47.4 GB/)).toBeTruthy();
  });

  it('shows a switch under way on its row, with Cancel, and lets another take over', async () => {
    const to = { server: 'ollama', model: 'llama3.1:8b' };
    const switching = {
      switch_id: 1,
      from: null,
      to,
      phase: 'loading',
      progress: 0.42,
      eta_s: 4,
      started_at: '',
    } as const;
    const { backend } = renderWith(SwitchList, snapshotOf('ready', { switching }));
    expect(screen.getByText(/Loading · 42\s% · about 4\ss left/)).toBeTruthy();
    await userEvent.click(screen.getByRole('button', { name: /^Cancel the switch to / }));
    expect(backend.of('cancel_switch')).toHaveLength(1);
    await userEvent.click(screen.getByRole('button', { name: /^Switch to Gemma 3 270M/ }));
    expect(backend.of('switch')).toHaveLength(1);
  });
});
