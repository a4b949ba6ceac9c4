import { screen, within } from '@testing-library/svelte';
import { describe, expect, it } from 'vitest';
import Containers from '../src/views/Containers.svelte';
import { renderWith, snapshotOf } from './support';

const row = (name: string) => {
  const found = screen.getAllByTestId('container').find((one) => one.dataset.name === name);
  if (found === undefined) throw new Error(`no row for ${name}`);
  return found;
};

describe('containers', () => {
  it('says of an unhealthy one what that means, by a word and a shape, and where to look', () => {
    renderWith(Containers, snapshotOf());
    const search = row('search');
    expect(search.textContent).toMatch(/Running, unhealthy/);
    expect(search.textContent).toMatch(/Programs that use it may get no answer/);
    expect(within(search).getByText('docker logs search')).toBeTruthy();
    expect(search.querySelector('svg.attention')).not.toBeNull();
    expect(row('database').querySelector('svg.good')).not.toBeNull();
    expect(row('database').textContent).not.toMatch(/docker logs/);
  });

  it('tells engine, number, memory of all, and how many need attention', () => {
    renderWith(Containers, snapshotOf());
    expect(screen.getByText(/Docker 28\.3\.2 · 4 containers · 1\.42\sGB in memory · 2 need attention/)).toBeTruthy();
  });

  it('keeps the order of the engine, which puts trouble first', () => {
    renderWith(Containers, snapshotOf());
    const names = screen.getAllByTestId('container').map((one) => one.dataset.name);
    expect(names).toEqual(['admin', 'search', 'database', 'vectors']);
  });

  it('says why one has ended and never writes 0 for what is not known', () => {
    renderWith(Containers, snapshotOf('trouble'));
    expect(row('importer').textContent).toMatch(/Ended, out of memory \(code 137\)/);
    expect(row('indexer').textContent).toMatch(/Restarting, code 1, 14 restarts/);
    expect(row('importer').textContent).not.toMatch(/\b0\s(B|%)/);
  });

  it('is one quiet line with the reason where there is no Docker, and nothing before the first look', () => {
    renderWith(Containers, snapshotOf('empty'));
    expect(screen.queryByTestId('containers')).toBeNull();
    expect(screen.getByTestId('containers-absent').textContent).toBe(
      'Containers: no Docker here: none of its sockets exists.',
    );
  });

  it('is not there before the first look', () => {
    renderWith(Containers, snapshotOf('ready', { containers: null, containers_absent: null }));
    expect(screen.queryByTestId('containers-absent')).toBeNull();
    expect(screen.queryByTestId('containers')).toBeNull();
  });
});
