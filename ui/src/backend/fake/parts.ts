/** What has changed since a page looked, as the engine's hub tells it: for development and tests. */
import type { GaugeHistory } from '../../api/GaugeHistory';
import type { Reply } from '../../api/Reply';
import type { Snapshot } from '../../api/Snapshot';

/** A page that looked longer ago gets everything. */
const KEPT = 20;

export class FakeParts {
  #told: Snapshot[] = [];

  /** Remembers what a page is told. */
  whole(snapshot: Snapshot): Reply {
    this.#told = [...this.#told.slice(1 - KEPT), snapshot];
    return { reply: 'snapshot', snapshot, now: snapshot.at };
  }

  /** Only what is not as it was in a known revision, with the newest samples where they are asked for. */
  since(known: number, snapshot: Snapshot, history?: GaugeHistory): Reply {
    const had = this.#told.find((one) => one.revision === known);
    const whole = this.whole(snapshot);
    if (had === undefined) return whole;
    const { schema, revision, at, ...parts } = snapshot;
    void schema;
    const changed = Object.entries(parts).filter(
      ([name, part]) => JSON.stringify(part) !== JSON.stringify(had[name as keyof Snapshot]),
    );
    return { reply: 'parts', revision, at, parts: Object.fromEntries(changed), now: at, ...(history && { history }) };
  }
}
