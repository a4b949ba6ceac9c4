import { screen, waitFor, within } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Reply } from '../src/api/Reply';
import type { RoleView } from '../src/api/RoleView';
import type { Snapshot } from '../src/api/Snapshot';
import { FakeBackend } from '../src/backend/fake/backend';
import { extraCopies, onRequestWords, rolesToShow, stateOfRole } from '../src/roles';
import RolesInForce from '../src/views/RolesInForce.svelte';
import ModelsHost from './ModelsHost.svelte';
import { renderWith, ScriptedBackend, snapshotOf, unreachable } from './support';

const role = (name: string): RoleView => {
  const found = snapshotOf('hybrid').roles.find((one) => one.role === name);
  if (found === undefined) throw new Error(`no role ${name}`);
  return found;
};

describe('roles in force', () => {
  it.each<[string, Partial<RoleView>, string, string]>([
    ['background', {}, 'good', 'ready'],
    ['critical', {}, 'good', 'Ready'],
    ['background', { waits: true }, 'waiting', 'waits'],
    ['background', { absent: 'Ollama does not run' }, 'attention', 'Ollama does not run'],
    ['background', { instance: null }, 'idle', 'away'],
  ])('%s with %o is %s: %s', (name, change, tone, word) => {
    const snapshot = snapshotOf('hybrid');
    expect(stateOfRole({ ...role(name), ...change }, snapshot)).toMatchObject({ tone, word });
  });

  // The same table as the engine's own test of it.
  it.each<[string[], string[], string[]]>([
    [['a'], [], []],
    [['a', 'a:2'], [], ['a:2']],
    [['a:10', 'a:2', 'a'], ['a'], ['a:2', 'a:10']],
    [['a', 'a:2'], ['a:2'], ['a']],
    [['a', 'a:2', 'a:3'], ['a', 'a:3'], ['a:2']],
  ])('of the copies %o with %o in use %o are extra', (there, used, extra) => {
    const snapshot = snapshotOf('hybrid');
    const [model, copy] = [{ server: 'lmstudio', model: 'a' }, snapshot.instances[0]!];
    const instances = there.map((id) => ({ ...copy, ...model, id }));
    const roles = used.map((instance) => ({ ...role('small'), model, instance }));
    const found = extraCopies({ ...snapshot, active: null, on_request: [], instances, roles }, model);
    expect(found.map((one) => one.id)).toEqual(extra);
    expect(extraCopies({ ...snapshot, instances, roles }, { ...model, server: 'ollama' })).toEqual([]);
  });

  it('are listed where there are more than the one that is active, that one first', () => {
    expect(rolesToShow(snapshotOf('hybrid')).map((one) => one.role)).toEqual([
      'critical',
      'background',
      'embed',
      'small',
    ]);
    expect(rolesToShow(snapshotOf('hybrid', { roles: [role('critical')] }))).toEqual([]);
    expect(rolesToShow(snapshotOf('hybrid', { roles: [role('small')] }))).toHaveLength(1);
    expect(rolesToShow(snapshotOf('ready'))).toEqual([]);
  });

  it('name their model, server and state, and lead to the scene', () => {
    renderWith(RolesInForce, snapshotOf('hybrid'));
    const list = screen.getByRole('list', { name: 'Roles in force' });
    const first = within(list).getAllByRole('listitem')[0]!;
    expect(first.textContent?.replace(/\s+/g, ' ').trim()).toBe(
      'critical Qwen2.5 7B Instruct · LM Studio , Ready pinned',
    );
    expect(screen.getByRole('link', { name: /Hybrid/ }).getAttribute('href')).toBe('#/scenes/Hybrid');
  });

  it.each([
    [0, 'on request, leaves in 14\u00a0min'],
    [13.5, 'on request, leaves soon'],
    [20, 'on request, leaves soon'],
  ])('a model that was loaded on request says when it leaves: %s minutes later', (minutes, words) => {
    const snapshot = snapshotOf('hybrid');
    const now = Date.parse(snapshot.on_request[0]!.last_used_at) + 60_000 + minutes * 60_000;
    expect(onRequestWords(snapshot, { server: 'ollama', model: 'llama3.2:1b' }, now)).toBe(words);
  });
});

describe('the table of models', () => {
  const rowOf = (id: string) => screen.getAllByTestId('table-row').find((row) => row.dataset.id === id)!;
  const STUDIO = 'lmstudio/qwen2.5-7b-instruct-mlx';

  async function open(change: Partial<Snapshot> = {}) {
    const scripted = new ScriptedBackend();
    const fake = new FakeBackend('hybrid', 0);
    for (const call of ['model_facts', 'fit', 'trends'] as const) scripted.answers[call] = (asked) => fake.call(asked);
    const shown = renderWith(ModelsHost, snapshotOf('hybrid', change), scripted);
    await waitFor(() => expect(screen.getAllByTestId('row-speed').length).toBeGreaterThan(2));
    return shown;
  }
  beforeEach(() => {
    location.hash = '#/models';
  });

  it('shows roles, pins and what was loaded on request', async () => {
    await open();
    expect(within(rowOf(STUDIO)).getByTestId('role-tags').textContent).toMatch(/role\s+critical/);
    expect(within(rowOf(STUDIO)).getByRole('img', { name: 'pinned' })).toBeTruthy();
    expect(within(rowOf('ollama/llama3.2:1b')).getByTestId('on-request').textContent).toMatch(/leaves in 14\smin/);
    expect(within(rowOf('ollama/phi3:3.8b')).queryByTestId('unload')).toBeNull();
  });

  it('unloads and pins, says what came of it, and of the active model what it means before', async () => {
    const { backend, store } = await open();
    backend.answers.unload = (): Reply => ({
      ...{ reply: 'unloaded', unloaded: [], answers_cut: 2, took_ms: 5, dry_run: false },
      deactivated: { server: 'lmstudio', model: 'qwen2.5-7b-instruct-mlx', instance: 'x' },
    });
    const unload = within(rowOf(STUDIO)).getByRole('button', { name: /^Unload .*, so that no model is active$/ });
    await userEvent.hover(rowOf(STUDIO));
    expect(screen.getByTestId('models-foot').textContent).toContain('Unload leaves no active model');
    await userEvent.click(unload);
    expect(backend.of('unload')).toMatchObject([{ model: STUDIO, now: false, dry_run: false }]);
    expect(screen.getByTestId('models-foot').textContent).toContain(
      'Qwen2.5 7B Instruct has left memory. No model is active. 2 answers were cut.',
    );
    const row = () => rowOf('ollama/llama3.2:1b');
    backend.answers.pin = () => unreachable;
    await userEvent.click(within(row()).getByRole('button', { name: /^Pin Llama 3.2 1B/ }));
    expect(screen.getByTestId('models-foot').textContent).toContain(unreachable.message);
    backend.answers.pin = (): Reply => ({ reply: 'pinned', model: { server: 'o', model: 'm' }, pinned: true });
    await userEvent.click(within(row()).getByRole('button', { name: /^Pin Llama 3.2 1B/ }));
    expect(backend.of('pin').at(-1)).toMatchObject({ model: 'ollama/llama3.2:1b', pinned: true });
    expect(screen.getByTestId('models-foot').textContent).toContain('is pinned: it leaves for no other model.');
    store.snapshot = snapshotOf('hybrid', { pins: [{ server: 'ollama', model: 'llama3.2:1b' }] });
    await waitFor(() => expect(within(row()).getByRole('button', { name: /^Unpin/ })).toBeTruthy());
  });

  it('offers the way back for as long as there is one', async () => {
    const until = new Date(Date.now() + 60_000).toISOString();
    const undo = { back_to: 'Gemma 3 270M', done: 'No model is active', until };
    const { backend, store } = await open({ undo });
    store.acts.say('models', 'It has left memory.');
    const button = await screen.findByTestId('models-undo');
    expect(button.textContent).toContain('Undo: back to Gemma 3 270M');
    await userEvent.click(button);
    expect(backend.of('undo')).toHaveLength(1);
    store.now = Date.parse(until) + 1;
    await waitFor(() => expect(screen.queryByTestId('models-undo')).toBeNull());
  });
});
