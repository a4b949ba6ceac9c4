import { fireEvent, render, screen, waitFor, within } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { LogLine } from '../src/api/LogLine';
import { logLines } from '../src/backend/fake/scenes';
import { Store } from '../src/store.svelte';
import Log from '../src/views/Log.svelte';
import { ScriptedBackend, snapshotOf, TestVisibility } from './support';

afterEach(() => vi.restoreAllMocks());

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

  /** A page on a backend that has so many lines, and a box of a size. */
  async function shown(lines: LogLine[]) {
    const backend = new ScriptedBackend();
    let all = lines;
    backend.answers.logs = (call) => ({
      reply: 'logs',
      lines: all.filter((line) => line.number > ((call as { after?: number }).after ?? 0)),
    });
    const store = new Store(backend, new TestVisibility());
    store.snapshot = snapshotOf();
    vi.spyOn(HTMLElement.prototype, 'clientHeight', 'get').mockReturnValue(360);
    render(Log, { props: { server: 'llama-server' }, context: new Map([['store', store]]) });
    const box = await screen.findByTestId('log-lines');
    return { box, add: (more: LogLine[]) => (all = [...all, ...more]) };
  }
  const numbered = (from: number, to: number): LogLine[] =>
    Array.from({ length: to - from + 1 }, (_, index) => ({
      number: from + index,
      at: '2026-11-29T09:12:00Z',
      source: 'server',
      line: `line ${from + index}`,
    }));

  it('draws the end of ten thousand lines and no more than what is seen', async () => {
    const { box } = await shown(numbered(1, 10_000));
    await waitFor(() => expect(within(box).getByText('line 10000')).toBeTruthy());
    expect(within(box).getAllByRole('listitem').length).toBeLessThan(120);
    expect(within(box).queryByText('line 1')).toBeNull();
    expect(screen.getByText('Following')).toBeTruthy();
  });

  it('stays where it was scrolled to, counts what is new, and goes on at the end', async () => {
    vi.useFakeTimers({ shouldAdvanceTime: true });
    try {
      const { box, add } = await shown(numbered(1, 500));
      vi.spyOn(box, 'scrollHeight', 'get').mockReturnValue(9000);
      box.scrollTop = 1800;
      await fireEvent.scroll(box);
      expect(screen.getByText('Paused')).toBeTruthy();
      expect(within(box).getByText('line 101')).toBeTruthy();
      add(numbered(501, 503));
      await vi.advanceTimersByTimeAsync(1100);
      expect(screen.getByTestId('log-to-end').textContent).toMatch(/3 new lines/);
      expect(within(box).getByText('line 101')).toBeTruthy();
      expect(within(box).queryByText('line 503')).toBeNull();
      await fireEvent.click(screen.getByTestId('log-to-end'));
      expect(within(box).getByText('line 503')).toBeTruthy();
      expect(screen.queryByTestId('log-to-end')).toBeNull();
    } finally {
      vi.useRealTimers();
    }
  });

  it('folds probes, opens them by a click, and marks levels with a word', async () => {
    const probe = '[GIN] x | 200 | 1µs | 127.0.0.1 | GET "/api/ps"';
    const texts = ['start', probe, probe, '0.02.374.552 E srv load: model is corrupted'];
    const { box } = await shown(numbered(1, 4).map((line, index) => ({ ...line, line: texts[index] ?? '' })));
    const fold = within(box).getByTestId('log-probes');
    expect(fold.textContent).toMatch(/2 probes of Pilothouse folded/);
    expect(within(box).queryByText(probe)).toBeNull();
    await userEvent.click(fold);
    expect(within(box).getAllByText(probe)).toHaveLength(2);
    expect(within(box).getByText('Error:', { exact: false }).closest('li')?.className).toContain('error');
  });
});
