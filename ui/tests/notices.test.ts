import { cleanup, screen, waitFor, within } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { describe, expect, it } from 'vitest';
import type { Notice } from '../src/api/Notice';
import { eventCallOf, eventQueryOf, eventViewOf } from '../src/events';
import Events from '../src/views/Events.svelte';
import Notices from '../src/views/Notices.svelte';
import { render } from '@testing-library/svelte';
import { Store } from '../src/store.svelte';
import { renderWith, ScriptedBackend, snapshotOf, TestVisibility } from './support';

function notice(id: number, change: Partial<Notice> = {}): Notice {
  return {
    id,
    at: new Date(0).toISOString(),
    level: 'attention',
    kind: 'server',
    title: `Event ${id}`,
    body: 'Because.',
    hint: null,
    server: 'ollama',
    acts: [
      { act: 'show_log', server: 'ollama' },
      { act: 'start_again', server: 'ollama' },
    ],
    own: false,
    ...change,
  };
}

describe('the events band', () => {
  it('says quietly that there is nothing', () => {
    renderWith(Notices, snapshotOf('ready', { notices: [] }));
    expect(within(screen.getByTestId('band')).getByText('Nothing to report.')).toBeTruthy();
  });

  it('shows the latest with its acts, and how many more there are', async () => {
    const { backend } = renderWith(Notices, snapshotOf('ready', { notices: [notice(3), notice(2), notice(1)] }));
    expect(screen.getAllByTestId('notice').map((one) => one.dataset.id)).toEqual(['3']);
    expect(screen.getByTestId('more-events').textContent).toBe('2 more');
    expect(screen.getByTestId('more-events').getAttribute('href')).toBe('#/events');
    expect(screen.getByRole('link', { name: /^Show log/ }).getAttribute('href')).toBe('#/log/ollama');
    await userEvent.click(screen.getByRole('button', { name: /^Start again/ }));
    expect(backend.of('start_server')).toEqual([{ call: 'start_server', server: 'ollama' }]);
    await userEvent.click(screen.getByRole('button', { name: 'Dismiss: Event 3' }));
    expect(backend.of('dismiss_notice')).toEqual([{ call: 'dismiss_notice', id: 3 }]);
  });

  it('passes over what came of a click: that stands where it was clicked', () => {
    renderWith(Notices, snapshotOf('ready', { notices: [notice(2, { own: true }), notice(1)] }));
    expect(screen.getByTestId('notice').dataset.id).toBe('1');
    expect(screen.queryByTestId('more-events')).toBeNull();
    cleanup();
    renderWith(Notices, snapshotOf('ready', { notices: [notice(2, { own: true })] }));
    expect(screen.queryByTestId('notice')).toBeNull();
  });

  it('puts what is wrong right now before what has happened', () => {
    const trouble = { code: 'settings_invalid', message: 'Line 7.', hint: null, retry: false } as const;
    renderWith(Notices, snapshotOf('ready', { notices: [notice(1)], troubles: [trouble] }));
    expect(screen.getByTestId('trouble').textContent).toContain('Line 7.');
    expect(screen.getByTestId('more-events').textContent).toBe('1 more');
  });
});

describe('the page Events', () => {
  it('has its filter in the address, and what an address cannot mean is as if it were not there', () => {
    const view = { server: 'ollama', level: 'problem', kind: 'server', page: 2 } as const;
    expect(eventViewOf(eventQueryOf(view))).toEqual(view);
    expect(eventViewOf({ level: 'loud', kind: 'x', page: '-3' })).toEqual({ server: '', level: '', kind: '', page: 0 });
    expect(eventQueryOf({ server: '', level: '', kind: '', page: 0 })).toEqual({});
    expect(eventCallOf(view)).toEqual({
      call: 'events',
      server: 'ollama',
      level: 'problem',
      kind: 'server',
      limit: 50,
      offset: 100,
    });
  });

  it('lists what was told, also what came of clicks, and turns pages', async () => {
    const backend = new ScriptedBackend();
    const all = Array.from({ length: 120 }, (_, index) => notice(120 - index, { own: index % 2 === 0 }));
    backend.answers.events = (call) => {
      if (call.call !== 'events') throw new Error(call.call);
      const from = call.offset ?? 0;
      return { reply: 'events', events: all.slice(from, from + 50), total: all.length };
    };
    const store = new Store(backend, new TestVisibility());
    store.snapshot = snapshotOf();
    render(Events, { props: { query: { page: '2' } }, context: new Map([['store', store]]) });
    expect(await screen.findByText('51 – 100 of 120 events')).toBeTruthy();
    expect(screen.getAllByTestId('event')).toHaveLength(50);
    await userEvent.click(screen.getByRole('button', { name: 'Older' }));
    expect(location.hash).toBe('#/events?page=3');
    await userEvent.selectOptions(screen.getByTestId('events-level'), 'problem');
    expect(location.hash).toBe('#/events?level=problem');
  });

  it('offers Undo only as long as it would take back the same', async () => {
    const backend = new ScriptedBackend();
    const acts = (until: string): Notice['acts'] => [{ act: 'undo', until }];
    const events = [notice(2, { own: true, acts: acts('b') }), notice(1, { own: true, acts: acts('a') })];
    backend.answers.events = () => ({ reply: 'events', events, total: 2 });
    const store = new Store(backend, new TestVisibility());
    store.snapshot = snapshotOf('ready', { undo: { back_to: null, done: 'Event 2', until: 'b' } });
    render(Events, { props: { query: {} }, context: new Map([['store', store]]) });
    expect(await screen.findAllByTestId('event')).toHaveLength(2);
    await userEvent.click(screen.getByRole('button', { name: /^Undo.*Event 2$/ }));
    expect(backend.of('undo')).toEqual([{ call: 'undo' }]);
    expect(screen.queryByRole('button', { name: /^Undo.*Event 1$/ })).toBeNull();
    store.snapshot = snapshotOf('ready', { undo: null });
    await waitFor(() => expect(screen.queryByRole('button', { name: /^Undo/ })).toBeNull());
  });

  it('says that nothing matches', async () => {
    const backend = new ScriptedBackend();
    backend.answers.events = () => ({ reply: 'events', events: [], total: 0 });
    const store = new Store(backend, new TestVisibility());
    store.snapshot = snapshotOf();
    render(Events, { props: { query: { server: 'ollama' } }, context: new Map([['store', store]]) });
    expect(await screen.findByText(/No event matches this filter/)).toBeTruthy();
  });
});
