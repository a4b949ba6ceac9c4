import { render, screen, within } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import { logLines } from '../src/backend/fake/scenes';
import { Store } from '../src/store.svelte';
import Log from '../src/views/Log.svelte';
import { ScriptedBackend, snapshotOf, TestVisibility } from './support';

describe('the log of a server', () => {
  it('searches earlier days when it is asked to', async () => {
    const backend = new ScriptedBackend();
    const lines = logLines('llama-server', Date.now());
    const old = { at: '2026-11-20T08:00:00Z', source: 'server' as const, line: 'the needle of last week' };
    backend.answers.logs = () => ({ reply: 'logs', lines });
    backend.answers.search_logs = () => ({ reply: 'log_matches', matches: [old] });
    const store = new Store(backend, new TestVisibility());
    store.snapshot = snapshotOf();
    render(Log, { props: { server: 'llama-server' }, context: new Map([['store', store]]) });
    await screen.findByTestId('log-lines');
    expect(screen.queryByTestId('search-earlier')).toBeNull();

    await userEvent.type(screen.getByRole('searchbox'), 'needle');
    expect(screen.queryByTestId('log-lines')).toBeNull();
    await userEvent.click(screen.getByTestId('search-earlier'));
    const matches = await screen.findByTestId('log-matches');
    expect(within(matches).getByText(old.line)).toBeTruthy();
    expect(backend.of('search_logs')).toMatchObject([{ server: 'llama-server', text: 'needle' }]);

    // Another word is another question.
    await userEvent.type(screen.getByRole('searchbox'), 's');
    expect(screen.queryByTestId('log-matches')).toBeNull();
  });
});
