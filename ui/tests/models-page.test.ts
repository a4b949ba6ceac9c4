import { screen, waitFor, within } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Reply } from '../src/api/Reply';
import { FakeBackend } from '../src/backend/fake/backend';
import { initialSnapshot } from '../src/backend/fake/scenes';
import ModelsHost from './ModelsHost.svelte';
import { renderWith, ScriptedBackend, snapshotOf } from './support';

/** A scripted backend whose questions of the past a simulated engine answers. */
function backend(): ScriptedBackend {
  const scripted = new ScriptedBackend();
  const fake = new FakeBackend('many', 0);
  for (const call of ['model_facts', 'fit', 'trends'] as const) scripted.answers[call] = (asked) => fake.call(asked);
  return scripted;
}

async function open(change = {}) {
  const shown = renderWith(ModelsHost, snapshotOf('many', change), backend());
  await waitFor(() => expect(screen.getAllByTestId('row-speed').length).toBeGreaterThan(3));
  return shown;
}
const rows = () => screen.getAllByTestId('table-row');
const titles = () => screen.getAllByTestId('model-title').map((one) => one.textContent?.trim());
const rowOf = (id: string) => rows().find((row) => row.dataset.id === id)!;

beforeEach(() => {
  location.hash = '#/models';
});

describe('the table of models', () => {
  it('shows each model with its figures, and says which of them are measured and which are not', async () => {
    await open();
    expect(rows()).toHaveLength(initialSnapshot('many', 0).models.length);
    const active = rowOf('lmstudio/qwen2.5-7b-instruct-mlx');
    const measured = within(active).getByRole('link', { name: /tok\/s, .* interval, measured/ });
    expect(measured.getAttribute('href')).toMatch(/^#\/benchmarks\/\d+$/);
    expect(within(active).getByText('active')).toBeTruthy();
    const forecast = rowOf('ollama/llama3.1:8b');
    expect(within(forecast).getByText(/^about \d+$/).title).toMatch(/^Forecast, not measured/);
    expect(within(rowOf('ollama/nomic-embed-text:latest')).getByText('embeds')).toBeTruthy();
    const damaged = rowOf('lmstudio/mistral-7b-instruct-v0.2-q4_k_m.gguf');
    expect(within(damaged).getByText('damaged')).toBeTruthy();
    expect(within(damaged).queryByRole('button', { name: /^Switch/ })).toBeNull();
  });

  it('sorts by a click on a head, says so, and keeps it in the address', async () => {
    await open();
    // Asking all of a page for a role takes long with sixty rows.
    const head = () => screen.getByTestId('sort-size').closest<HTMLElement>('[role="columnheader"]')!;
    expect(head().getAttribute('aria-sort')).toBe('none');
    await userEvent.click(screen.getByTestId('sort-size'));
    await waitFor(() => expect(head().getAttribute('aria-sort')).toBe('descending'));
    expect(location.hash).toBe('#/models?sort=-size');
    await userEvent.click(screen.getByTestId('sort-size'));
    await waitFor(() => expect(head().getAttribute('aria-sort')).toBe('ascending'));
    expect(location.hash).toBe('#/models?sort=size');
  });

  it('filters, keeps the filter in the address, and shows all again', async () => {
    await open();
    await userEvent.click(screen.getByTestId('model-filter'));
    await userEvent.paste('ollama gem');
    await waitFor(() => expect(titles()).toHaveLength(3));
    await waitFor(() => expect(location.hash).toBe('#/models?filter=ollama+gem'));
    // What is typed before the page hears of that change of its own address stays.
    await userEvent.paste(' x');
    dispatchEvent(new HashChangeEvent('hashchange'));
    expect(await screen.findByText(/No model matches “ollama gem x”/)).toBeTruthy();
    await userEvent.click(screen.getByText('Show all'));
    await waitFor(() => expect(rows().length).toBeGreaterThan(50));
  });

  it('counts its segments, and shows one', async () => {
    await open();
    const damaged = screen.getByTestId('show-damaged');
    expect(damaged.textContent?.trim()).toBe('Damaged 1');
    await userEvent.click(damaged);
    await waitFor(() => expect(titles()).toEqual(['Mistral 7B Instruct v0.2']));
    expect(location.hash).toBe('#/models?show=damaged');
  });

  it('shows a model that is in memory once more, with one button to end that', async () => {
    const { backend, store } = await open();
    const of = (id: string) => rowOf(id);
    const loaded = store.snapshot!.instances.find((one) => one.server === 'lmstudio')!;
    const id = `lmstudio/${loaded.model}`;
    await userEvent.click(within(of(id)).getByTestId('model-title'));
    const drawer = await screen.findByTestId('model-drawer');
    expect(within(drawer).queryByTestId('extra-copy')).toBeNull();
    const copy = { ...loaded, id: `${loaded.model}:2` };
    const snapshot = store.snapshot!;
    const servers = snapshot.servers.map((one) => ({ ...one, abilities: { ...one.abilities, unload: true } }));
    store.snapshot = { ...snapshot, servers, instances: [...snapshot.instances, copy] };
    const line = await within(drawer).findByTestId('extra-copy');
    expect(line.textContent).toContain(copy.id);
    backend.answers.unload_copy = (): Reply => ({
      ...{ reply: 'unloaded', unloaded: [], answers_cut: 0, deactivated: null, took_ms: 1, dry_run: false },
    });
    await userEvent.click(within(line).getByRole('button', { name: /^Unload the copy/ }));
    expect(backend.of('unload_copy')).toEqual([{ call: 'unload_copy', server: 'lmstudio', instance: copy.id }]);
    await waitFor(() => expect(screen.getByTestId('models-foot').textContent).toContain('has left memory'));
  });

  it('opens the details of a model, with where each figure comes from; Escape closes them and gives the focus back', async () => {
    await open();
    await userEvent.click(within(rowOf('lmstudio/qwen2.5-7b-instruct-mlx')).getByTestId('model-title'));
    const drawer = await screen.findByTestId('model-drawer');
    expect(location.hash).toBe('#/models/lmstudio%2Fqwen2.5-7b-instruct-mlx');
    expect(within(await within(drawer).findByTestId('drawer-needs')).getByText('Weights')).toBeTruthy();
    expect(within(drawer).getByText('the tensors in the model’s file')).toBeTruthy();
    expect(within(drawer).getByRole('link', { name: /^Run of/ })).toBeTruthy();
    expect(within(drawer).getByTestId('drawer-held').textContent).toMatch(/^measured: process \d+, /);
    expect(
      within(drawer)
        .getAllByRole('button', { name: /^Copy: / })
        .map((one) => one.getAttribute('aria-label')),
    ).toEqual(['Copy: active', 'Copy: qwen2.5-7b-instruct-mlx', 'Copy: lmstudio/qwen2.5-7b-instruct-mlx']);
    await userEvent.keyboard('{Escape}');
    await waitFor(() => expect(screen.queryByTestId('model-drawer')).toBeNull());
    await waitFor(() =>
      expect((document.activeElement as HTMLElement).dataset.id).toBe('lmstudio/qwen2.5-7b-instruct-mlx'),
    );
  });

  it('says what the model under the pointer would take, and nothing when the pointer has left', async () => {
    await open();
    const foot = screen.getByTestId('models-foot');
    expect(within(foot).getByText(/^Point at a model/)).toBeTruthy();
    await userEvent.hover(rowOf('ollama/phi3:3.8b'));
    expect(within(foot).getByText('Phi-3 Mini 3.8B Instruct fits beside everything in memory.')).toBeTruthy();
    expect(within(foot).getByText(/would stay free of/)).toBeTruthy();
    await userEvent.hover(rowOf('ollama/llama3.1:70b'));
    expect(within(foot).getByText(/^Llama 3.1 70B Instruct needs .* more than is free\.$/)).toBeTruthy();
    await userEvent.unhover(document.querySelector('[role="table"]')!);
    await waitFor(() => expect(within(foot).getByText(/^Point at a model/)).toBeTruthy());
  });

  it('switches by the act of a row, and shows the load there with Cancel', async () => {
    const { backend: scripted, store } = await open();
    await userEvent.click(within(rowOf('ollama/phi3:3.8b')).getByRole('button', { name: /^Switch to Phi-3 Mini/ }));
    expect(scripted.of('switch')).toMatchObject([{ model: 'ollama/phi3:3.8b' }]);
    const to = { server: 'ollama', model: 'phi3:3.8b' };
    const switching = {
      switch_id: 3,
      from: null,
      to,
      phase: 'loading',
      progress: 0.42,
      eta_s: 4,
      started_at: '',
    } as const;
    store.snapshot = snapshotOf('many', { switching });
    const row = () => rowOf('ollama/phi3:3.8b');
    await waitFor(() => expect(row().textContent).toMatch(/Loading 42\s%\s*, about 4\ss left/));
    await userEvent.click(within(row()).getByRole('button', { name: /^Cancel the switch to / }));
    expect(scripted.of('cancel_switch')).toHaveLength(1);
  });

  it('walks its rows with the arrows from the filter on', async () => {
    await open();
    await userEvent.click(screen.getByTestId('model-filter'));
    await userEvent.keyboard('{ArrowDown}{ArrowDown}');
    expect((document.activeElement as HTMLElement).dataset.id).toBe(rows()[1]?.dataset.id);
    await userEvent.keyboard('{End}');
    expect((document.activeElement as HTMLElement).dataset.id).toBe(rows().at(-1)?.dataset.id);
    await userEvent.keyboard('{Home}{ArrowUp}');
    expect(document.activeElement).toBe(screen.getByTestId('model-filter'));
  });

  it('loads with settings of its own: what is typed is reckoned, what is wrong is said at its field, and a click switches', async () => {
    // jsdom has no modal dialogs; the browser tests look at the real one.
    HTMLDialogElement.prototype.showModal = function () {
      this.open = true;
    };
    HTMLDialogElement.prototype.close = function () {
      this.open = false;
      this.dispatchEvent(new Event('close'));
    };
    const { backend: scripted } = await open();
    const fake = new FakeBackend('many', 0);
    scripted.answers.switch = (asked) => fake.call(asked);
    const id = 'lmstudio/qwen2.5-coder-14b-instruct-mlx';
    expect(within(rowOf('ollama/phi3:3.8b')).queryByTestId('row-load-with'), 'Ollama takes none').toBeNull();
    await userEvent.click(within(rowOf(id)).getByTestId('row-load-with'));
    const dialog = await screen.findByTestId('load-with');
    expect(within(dialog).queryByTestId('load-kv'), 'LM Studio takes no KV type').toBeNull();
    await waitFor(() => expect(scripted.of('switch').at(-1)).toMatchObject({ model: id, dry_run: true, with: {} }));
    const context = within(dialog).getByTestId('load-context');
    await userEvent.type(context, 'many');
    expect(within(dialog).getByText(/^Allowed: 1 to 16777216/)).toBeTruthy();
    expect(within(dialog).getByTestId<HTMLButtonElement>('load-go').disabled).toBe(true);
    await userEvent.clear(context);
    await userEvent.type(context, '2048');
    await waitFor(() => expect(scripted.of('fit').at(-1)).toMatchObject({ models: [id], context: 2048 }));
    await waitFor(() => expect(within(dialog).getByTestId('load-verdict').textContent).toMatch(/It fits\./));
    await userEvent.click(within(dialog).getByTestId('load-go'));
    expect(scripted.of('switch').at(-1)).toMatchObject({ model: id, dry_run: false, with: { context: 2048 } });
    await waitFor(() => expect(screen.queryByTestId('load-with')).toBeNull());
    await waitFor(() => expect((document.activeElement as HTMLElement).dataset.id).toBe(id));
  });
});
