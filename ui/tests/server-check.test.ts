import { screen, within } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { expect, it } from 'vitest';
import Servers from '../src/views/Servers.svelte';
import { renderWith, snapshotOf } from './support';

it('a check tells port, API and token, with a word for each result', async () => {
  const { backend } = renderWith(Servers, snapshotOf());
  backend.answers.check_server = () => ({
    reply: 'doctor',
    checks: [
      { name: 'port', result: 'ok', detail: '127.0.0.1:11434 takes connections', hint: null },
      { name: 'API', result: 'ok', detail: 'answers', hint: null },
      { name: 'token', result: 'fail', detail: 'qwen gave none', hint: 'Look at its log, or restart it.' },
    ],
  });
  await userEvent.click(screen.getByRole('button', { name: 'Check Ollama' }));
  const rungs = within(await screen.findByTestId('rungs')).getAllByRole('listitem');
  expect(rungs.map((rung) => rung.textContent?.replace(/\s+/g, ' ').trim())).toEqual([
    expect.stringMatching(/^\w+: Port: 127\.0\.0\.1:11434 takes connections$/),
    expect.stringMatching(/^\w+: API: answers$/),
    expect.stringMatching(/^\w+: Token: qwen gave none Look at its log, or restart it\.$/),
  ]);
  expect(rungs[2]?.querySelector('svg.broken')).not.toBeNull();
  expect(backend.of('check_server')).toEqual([{ call: 'check_server', server: 'ollama' }]);
});
