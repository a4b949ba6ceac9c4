/** What happened while the gauges were read: switches that ended, and servers that became ready. */
import type { PastSwitch } from './api/PastSwitch';
import type { Snapshot } from './api/Snapshot';
import { expectReply } from './backend/backend';
import { modelTitle } from './models';
import type { Store } from './store.svelte';
import { gauges as words } from './text';

export interface Mark {
  /** Seconds. */
  at: number;
  words: string;
}

/** More switches than these would be a fence, not marks. */
const MOST = 50;

export function marksOf(switches: PastSwitch[], snapshot: Snapshot): Mark[] {
  const made = switches
    .filter((one) => one.outcome === 'committed')
    .map((one) => ({
      at: (Date.parse(one.started_at) + one.took_ms) / 1000,
      words: words.switchedTo(modelTitle(snapshot.models, one.to)),
    }));
  // What was ready before Pilothouse looked became ready at some other time.
  const begun = Date.parse(snapshot.engine.started_at) / 1000;
  const ready = snapshot.servers
    .filter((server) => server.state === 'ready')
    .map((server) => ({ at: Date.parse(server.since) / 1000, words: words.becameReady(server.title) }))
    .filter(({ at }) => at > begun + 15);
  return [...made, ...ready].filter(({ at }) => Number.isFinite(at)).sort((a, b) => a.at - b.at);
}

export class Marks {
  #switches = $state.raw<PastSwitch[]>([]);
  #last: Mark[] = [];
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** The same marks are the same list: most snapshots bring no other. */
  readonly all = $derived.by((): Mark[] => {
    const { snapshot } = this.#store;
    const marks = snapshot === null ? [] : marksOf(this.#switches, snapshot);
    if (JSON.stringify(marks) !== JSON.stringify(this.#last)) this.#last = marks;
    return this.#last;
  });

  /** Without them the plots still show their lines. */
  async load(): Promise<void> {
    try {
      this.#switches = expectReply(await this.#store.call({ call: 'switches', limit: MOST }), 'switches').switches;
    } catch {
      this.#switches = [];
    }
  }
}
