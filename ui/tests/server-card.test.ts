import { screen, within } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import Servers from '../src/views/Servers.svelte';
import { renderWith, snapshotOf } from './support';

const card = (id: string) => {
  const found = screen.getAllByTestId('server-card').find((one) => one.dataset.id === id);
  if (found === undefined) throw new Error(`no card for ${id}`);
  return within(found);
};

describe('servers', () => {
  it('asks before it stops what holds the active model, and says what is lost', async () => {
    const { backend } = renderWith(Servers, snapshotOf());
    await userEvent.click(card('llama-server').getByRole('button', { name: 'Stop llama-server' }));
    expect(backend.of('stop_server')).toEqual([]);
    expect(card('llama-server').getByText(/takes SmolLM2 135M Instruct, the active model, out of memory/)).toBeTruthy();
    await userEvent.click(card('llama-server').getByTestId('confirm-stop'));
    expect(backend.of('stop_server')).toEqual([{ call: 'stop_server', server: 'llama-server' }]);
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
    expect(card('lmstudio').queryByRole('button')).toBeNull();
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
