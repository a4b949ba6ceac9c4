/** What happened while the gauges were read: switches that ended, and servers that ended, hung, came back or became ready. */
import type { Notice } from './api/Notice';
import type { PastSwitch } from './api/PastSwitch';
import type { Reply } from './api/Reply';
import type { Snapshot } from './api/Snapshot';
import { modelTitle } from './models';
import type { Store } from './store.svelte';
import { gauges as words } from './text';

export interface Mark {
  /** Seconds. */
  at: number;
  words: string;
}

/** More than these of each would be a fence, not marks. */
const MOST = 50;
/** What is told of a server's return and the moment since when it is ready are one thing. */
const SAME_S = 15;

export function marksOf(switches: PastSwitch[], events: Notice[], snapshot: Snapshot): Mark[] {
  const made = switches
    .filter((one) => one.outcome === 'committed')
    .map((one) => ({
      at: (Date.parse(one.started_at) + one.took_ms) / 1000,
      words: words.switchedTo(modelTitle(snapshot.models, one.to)),
    }));
  const told = events
    .filter((one) => one.kind === 'server')
    .map((one) => ({ at: Date.parse(one.at) / 1000, words: one.title, server: one.server }));
  // What was ready before Pilothouse looked became ready at some other time.
  const begun = Date.parse(snapshot.engine.started_at) / 1000;
  const ready = snapshot.servers
    .filter((server) => server.state === 'ready')
    .map(({ id, since, title }) => ({ server: id, at: Date.parse(since) / 1000, words: words.becameReady(title) }))
    .filter(({ at }) => at > begun + 15)
    .filter((one) => !told.some(({ server, at }) => server === one.server && Math.abs(at - one.at) < SAME_S));
  return (
    [...made, ...told, ...ready]
      .map(({ at, words }) => ({ at, words }))
      .filter(({ at }) => Number.isFinite(at))
      .sort((a, b) => a.at - b.at)
      // What is told twice at one moment is one mark.
      .filter((mark, index, all) => !all.slice(0, index).some((one) => one.at === mark.at && one.words === mark.words))
  );
}

export class Marks {
  #switches = $state.raw<PastSwitch[]>([]);
  #events = $state.raw<Notice[]>([]);
  #last: Mark[] = [];
  readonly #store: Store;

  /** Changes with whatever may bring another mark. */
  readonly cause = $derived.by((): string => {
    const { snapshot } = this.#store;
    return JSON.stringify([
      snapshot?.last_switch?.switch_id,
      snapshot?.notices.find((one) => one.kind === 'server')?.id,
    ]);
  });

  constructor(store: Store) {
    this.#store = store;
  }

  /** The same marks are the same list: most snapshots bring no other. */
  readonly all = $derived.by((): Mark[] => {
    const { snapshot } = this.#store;
    const marks = snapshot === null ? [] : marksOf(this.#switches, this.#events, snapshot);
    if (JSON.stringify(marks) !== JSON.stringify(this.#last)) this.#last = marks;
    return this.#last;
  });

  /** Without them the plots still show their lines. */
  async load(): Promise<void> {
    const [switches, events] = await Promise.allSettled([
      this.#store.call({ call: 'switches', limit: MOST }),
      this.#store.call({ call: 'events', kind: 'server', limit: MOST }),
    ]);
    const told = <T>(result: PromiseSettledResult<Reply>, read: (reply: Reply) => T[]): T[] =>
      result.status === 'fulfilled' ? read(result.value) : [];
    this.#switches = told(switches, (reply) => (reply.reply === 'switches' ? reply.switches : []));
    this.#events = told(events, (reply) => (reply.reply === 'events' ? reply.events : []));
  }
}
