import { screen } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import { nothingCanAnswer } from '../src/models';
import FirstStart from '../src/views/FirstStart.svelte';
import { renderWith, ScriptedBackend, snapshotOf } from './support';

const setup = { server_present: false, model_present: false, progress: null, error: null };

describe('the first start', () => {
  it('is shown only when nothing can answer', () => {
    expect(nothingCanAnswer(snapshotOf('first-start'))).toBe(true);
    expect(nothingCanAnswer(snapshotOf('ready', { setup }))).toBe(false);
  });

  it('lists what was found and fetches with one button', async () => {
    const { backend } = renderWith(FirstStart, snapshotOf('first-start'));
    expect(screen.getAllByRole('listitem').map((item) => item.textContent?.trim().split(/\s{2,}|\n/)[0])).toHaveLength(
      5,
    );
    expect(screen.getByText('Ollama')).toBeTruthy();
    await userEvent.click(screen.getByRole('button', { name: /Fetch llama-server and a small model \(158 MB\)/ }));
    expect(backend.of('setup')).toEqual([{ call: 'setup', from_source: false }]);
  });

  it('shows a fetch in bytes and cancels it', async () => {
    const progress = { what: 'Fetching llama-server', done_bytes: 31.6e6, total_bytes: 158e6 };
    const { backend } = renderWith(FirstStart, snapshotOf('first-start', { setup: { ...setup, progress } }));
    expect(screen.getByText(/31.6\sMB of 158\sMB/)).toBeTruthy();
    expect(screen.getByRole('progressbar').getAttribute('value')).toBe('31600000');
    await userEvent.click(screen.getByRole('button', { name: 'Cancel' }));
    expect(backend.of('cancel_setup')).toHaveLength(1);
  });

  it('says why a fetch failed and offers it again', async () => {
    const backend = new ScriptedBackend();
    backend.answers.setup = () => ({
      code: 'download_failed',
      message: 'The index did not answer.',
      hint: 'Check the network.',
      retry: true,
    });
    renderWith(FirstStart, snapshotOf('first-start'), backend);
    await userEvent.click(screen.getByTestId('setup-start'));
    expect((await screen.findByRole('alert')).textContent).toMatch(
      /The download failed.*index did not answer.*Check the network/s,
    );
    expect(screen.getByTestId('setup-start')).toBeTruthy();
  });

  it('offers the build from source where the prebuilt server cannot run', async () => {
    const error = {
      code: 'cpu_too_old',
      message: 'This llama-server was built for a newer CPU.',
      hint: null,
      retry: false,
    } as const;
    const { backend } = renderWith(FirstStart, snapshotOf('first-start', { setup: { ...setup, error } }));
    await userEvent.click(screen.getByRole('button', { name: /from source/ }));
    expect(backend.of('setup')).toEqual([{ call: 'setup', from_source: true }]);
  });
});
