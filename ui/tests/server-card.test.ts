import { cleanup, screen, within } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { ServerState } from '../src/api/ServerState';
import Servers from '../src/views/Servers.svelte';
import { renderWith, snapshotOf } from './support';

const card = (id: string) => {
  const found = screen.getAllByTestId('server-card').find((one) => one.dataset.id === id);
  if (found === undefined) throw new Error(`no card for ${id}`);
  return within(found);
};

/** What is read on a card in each state; a state that is new in the engine is missing here and fails the type check. */
const states: Record<ServerState, { word: string; reason: string; hint: string }> = {
  not_installed: {
    word: 'Not installed',
    reason: 'There is no program ollama.',
    hint: 'Install it, or name it in the settings file.',
  },
  stopped: { word: 'Stopped', reason: 'It was stopped by somebody else.', hint: 'Start it where it belongs.' },
  starting: { word: 'Starting', reason: 'ended by signal 9', hint: 'Wait for the next start.' },
  ready: { word: 'Ready', reason: 'It answers slowly.', hint: 'See what else uses the processor.' },
  degraded: { word: 'Ready with trouble', reason: 'Ollama did not answer within 2 s.', hint: 'Look at its log.' },
  stopping: { word: 'Stopping', reason: 'Answers are under way.', hint: 'It ends after them.' },
  failed: {
    word: 'Failed',
    reason: 'The output file cannot be written.',
    hint: 'Free some disk space.',
  },
  gave_up: {
    word: 'Gave up restarting',
    reason: 'ended with code 1; stopped 5 times within 120 s',
    hint: 'Look at its log, then start it again.',
  },
  not_ours: {
    word: 'Address held by another program',
    reason: 'Port 11434 is held by python3 (pid 77).',
    hint: 'End it, or change servers.ollama.address.',
  },
};

/** The cards, with Ollama in a state. */
function renderIn(state: ServerState, reason: string | null, hint: string | null): void {
  const snapshot = snapshotOf();
  const servers = snapshot.servers.map((one) => (one.id === 'ollama' ? { ...one, state, reason, hint } : one));
  renderWith(Servers, { ...snapshot, servers });
}

describe('servers', () => {
  it.each(Object.entries(states))('says its word, its reason and its hint when it is %s', (name, said) => {
    const state = name as ServerState;
    renderIn(state, said.reason, said.hint);
    const shown = screen.getAllByTestId('server-card').find((one) => one.dataset.id === 'ollama');
    expect(shown?.dataset.state).toBe(state);
    expect(card('ollama').getByText(said.word)).toBeTruthy();
    expect(card('ollama').getByText(said.reason)).toBeTruthy();
    expect(card('ollama').getByText(said.hint)).toBeTruthy();
  });

  it('says a hint that has no reason before it', () => {
    renderIn('not_installed', null, 'Install it and start it once.');
    expect(card('ollama').getByText('Install it and start it once.')).toBeTruthy();
  });

  it('asks before it stops what holds the active model, and says what is lost', async () => {
    const { backend } = renderWith(Servers, snapshotOf());
    await userEvent.click(card('llama-server').getByRole('button', { name: 'Stop llama-server' }));
    expect(backend.of('stop_server')).toEqual([]);
    expect(card('llama-server').getByText(/takes SmolLM2 135M Instruct, the active model, out of memory/)).toBeTruthy();
    await userEvent.click(card('llama-server').getByTestId('confirm-stop'));
    expect(backend.of('stop_server')).toEqual([{ call: 'stop_server', server: 'llama-server' }]);
  });

  it('looks again for a program that is not installed, and only then', async () => {
    const snapshot = snapshotOf();
    const active = { server: 'ollama', model: 'm', instance: 'm' };
    const servers = snapshot.servers.map((one) =>
      one.id === 'ollama' ? { ...one, state: 'not_installed' as const } : one,
    );
    const { backend } = renderWith(Servers, { ...snapshot, servers, active });
    expect(card('llama-server').queryByRole('button', { name: /Look again/ })).toBeNull();
    await userEvent.click(card('ollama').getByRole('button', { name: 'Look again for Ollama' }));
    expect(backend.of('locate_server')).toEqual([{ call: 'locate_server', server: 'ollama' }]);
  });

  it('says before a server is forgotten that it has the active model', async () => {
    const snapshot = snapshotOf();
    const servers = snapshot.servers.map((one) =>
      one.id === 'ollama' ? { ...one, ownership: 'remote' as const } : one,
    );
    for (const [server, says] of [
      ['ollama', true],
      ['llama-server', false],
    ] as const) {
      const active = { server, model: 'm', instance: 'm' };
      renderWith(Servers, { ...snapshot, servers, active });
      await userEvent.click(card('ollama').getByRole('button', { name: /Forget/ }));
      expect(card('ollama').queryByText(/no model is active then/) !== null).toBe(says);
      cleanup();
    }
  });

  it('stops another one without asking', async () => {
    const { backend } = renderWith(Servers, snapshotOf());
    await userEvent.click(card('ollama').getByRole('button', { name: 'Stop Ollama' }));
    expect(backend.of('stop_server')).toHaveLength(1);
  });

  it('tells who started it and how its memory was measured', () => {
    renderWith(Servers, snapshotOf());
    expect(card('llama-server').getByText('started by Pilothouse')).toBeTruthy();
    expect(card('ollama').getByText('found running')).toBeTruthy();
    expect(card('ollama').getByText(/420\sMB · PSS/)).toBeTruthy();
  });

  it('offers a start only where it can be done', () => {
    renderWith(Servers, snapshotOf('trouble'));
    expect(card('ollama').getByRole('button', { name: 'Start again: Ollama' })).toBeTruthy();
    expect(card('lmstudio').queryByRole('button', { name: /^Start/ })).toBeNull();
  });

  it('shows a refusal on the card', async () => {
    const { backend } = renderWith(Servers, snapshotOf());
    backend.answers.stop_server = () => ({
      code: 'not_ours',
      message: 'Ollama was found running.',
      hint: 'Stop it where it was started.',
      retry: false,
    });
    await userEvent.click(card('ollama').getByRole('button', { name: 'Stop Ollama' }));
    expect((await card('ollama').findByRole('alert')).textContent).toMatch(/Not started by Pilothouse/);
  });
});
