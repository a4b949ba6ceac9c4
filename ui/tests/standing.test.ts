import { cleanup, render, screen } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { ServerState } from '../src/api/ServerState';
import type { Snapshot } from '../src/api/Snapshot';
import { Conversation } from '../src/answer.svelte';
import { withStanding } from '../src/backend/fake/standing';
import { Store } from '../src/store.svelte';
import SwitchList from '../src/views/SwitchList.svelte';
import Window from '../src/views/Window.svelte';
import { renderWith, ScriptedBackend, snapshotOf, TestVisibility } from './support';

const ACTIVE = 'llama-server/SmolLM2-135M-Instruct.Q4_1';

/** The server of the active model is in this state. */
function inState(state: ServerState): Snapshot {
  const snapshot = snapshotOf();
  const up = state === 'ready' || state === 'degraded';
  const servers = snapshot.servers.map((one) => (one.id === 'llama-server' ? { ...one, state } : one));
  const instances = up ? snapshot.instances : snapshot.instances.filter((one) => one.server !== 'llama-server');
  return withStanding({ ...snapshot, servers, instances }, { load_s: { [ACTIVE]: 4 } });
}

/** Head, rail, rows and Ask beside each other. */
function renderWindow(snapshot: Snapshot): ScriptedBackend {
  const backend = new ScriptedBackend();
  const store = new Store(backend, new TestVisibility());
  store.snapshot = snapshot;
  const conversation = new Conversation((call) => store.call(call));
  render(Window, {
    props: { route: { page: 'now', detail: null, query: {} }, conversation, first: false },
    context: new Map([['store', store]]),
  });
  return backend;
}

const row = () => {
  const found = screen.getAllByTestId('model-row').find((one) => one.dataset.id === ACTIVE);
  if (found === undefined) throw new Error('the active model has no row');
  return found;
};

describe('one standing', () => {
  it.each([
    ['stopped', 'Stopped', 'stopped', 'idle'],
    ['failed', 'Failed', 'failed', 'broken'],
    ['gave_up', 'Gave up restarting', 'gave up restarting', 'broken'],
    ['degraded', 'Ready with trouble', 'active, with trouble', 'attention'],
    ['starting', 'Starting', 'starting', 'busy'],
  ] as [ServerState, string, string, string][])(
    'head, rail and row say the same of a server that is %s, and no dot of it is green',
    (state, word, inRow, tone) => {
      renderWindow(inState(state));
      expect(screen.getByTestId('standing').textContent?.trim()).toBe(word);
      expect(screen.getByTestId('standing').dataset.tone).toBe(tone);
      expect(screen.getByTestId('foot').dataset.tone).toBe(tone);
      expect(screen.getByTestId('foot').textContent).toContain(word);
      expect(row().textContent).toContain(inRow);
      for (const part of [screen.getByTestId('standing'), screen.getByTestId('foot'), row()])
        expect(part.querySelector('svg.good')).toBeNull();
      cleanup();
    },
  );

  it('is green where it answers', () => {
    renderWindow(inState('ready'));
    expect(screen.getByTestId('standing').textContent?.trim()).toBe('Ready');
    expect(row().querySelector('svg.good')).not.toBeNull();
  });

  it('a click on the active model of a stopped server starts and loads it', async () => {
    const { backend } = renderWith(SwitchList, inState('stopped'));
    await userEvent.click(
      screen.getByRole('button', { name: /^Start and load SmolLM2 135M Instruct on llama-server/ }),
    );
    expect(backend.of('switch').map((call) => call.model)).toEqual([ACTIVE]);
  });

  it('the head has the same act, and Ask says what it will do first', async () => {
    const backend = renderWindow(inState('stopped'));
    expect(screen.getByTestId('ask-first').textContent).toBe(
      'Starts llama-server and loads SmolLM2 135M Instruct first; the load takes about 4 s.',
    );
    await userEvent.click(screen.getByTestId('active-act'));
    expect(backend.of('switch').map((call) => call.model)).toEqual([ACTIVE]);
  });

  it('a model on a stopped server is started and loaded by its click', () => {
    renderWith(SwitchList, inState('stopped'));
    expect(screen.getByRole('button', { name: /^Start and load Gemma 3 270M on llama-server/ })).toBeTruthy();
    expect(screen.getByRole('button', { name: /^Switch to Llama 3.1 8B Instruct on Ollama/ })).toBeTruthy();
  });

  it('a refusal stands in the row that was clicked', async () => {
    const backend = new ScriptedBackend();
    backend.answers.switch = () => ({ code: 'busy', message: 'A benchmark is under way.', hint: null, retry: true });
    renderWith(SwitchList, snapshotOf(), backend);
    await userEvent.click(screen.getByRole('button', { name: /^Switch to Llama 3.1 8B/ }));
    expect(screen.getByTestId('refused').textContent).toContain('A benchmark is under way.');
    expect(screen.getByRole('button', { name: /Llama 3.1 8B/ }).contains(screen.getByTestId('refused'))).toBe(true);
  });
});
