import { flushSync } from 'svelte';
import { describe, expect, it } from 'vitest';
import { LiveSnapshot } from '../src/live-snapshot.svelte';
import { snapshotOf } from './support';
import { Following } from './following.svelte';

describe('the snapshot as views read it', () => {
  it('tells whoever reads a part of that part alone', () => {
    const first = snapshotOf('ready');
    const live = new LiveSnapshot(first);
    const following = new Following(live.view);
    const end = following.start();
    flushSync();
    expect(following.seen).toEqual({ models: 1, gauges: 1 });
    live.show({ ...first, gauges: first.gauges && { ...first.gauges, cpu_percent: 77 } });
    flushSync();
    expect(following.seen).toEqual({ models: 1, gauges: 2 });
    // What is the same as before is no news.
    live.show({ ...first, revision: 9, gauges: live.view.gauges });
    flushSync();
    expect(following.seen).toEqual({ models: 1, gauges: 2 });
    expect([live.view.revision, live.view.gauges?.cpu_percent]).toEqual([9, 77]);
    end();
  });

  it('is read, spread and written like any other, and keeps nothing that is gone', () => {
    const first = snapshotOf('ready');
    const live = new LiveSnapshot(first);
    expect({ ...live.view }).toEqual(first);
    expect(JSON.parse(JSON.stringify(live.view))).toEqual(JSON.parse(JSON.stringify(first)));
    const { bench: _, ...without } = first;
    live.show(without as typeof first);
    expect(live.view.bench).toBeUndefined();
  });
});
