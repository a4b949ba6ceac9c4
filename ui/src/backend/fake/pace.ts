import { sleep } from './fault';

/** Longest wait for a page to come back: one that has gone must not hold the engine for ever. */
const PATIENCE_MS = 30_000;
/** A page that has not asked for so long is gone. */
const GONE_MS = 10_000;
/** Between two looks; a page has drawn what it knows by then. */
const LOOK_MS = 30;

/**
 * How fast simulated work goes on. A step lasts until the page has come back knowing what the step before changed: on a busy machine
 * nothing is over before it was drawn, and whoever watches misses nothing.
 */
export class Pace {
  #known = 0;
  #askedAt = -Infinity;
  /** While set, no step ends. */
  held = false;
  /** Where work stops by itself, until it is set to null. */
  stops: (() => boolean) | null = null;

  /** `step`: milliseconds that a step takes at least. */
  constructor(readonly step: number) {}

  /** A page asks for what is new, and knows all up to this revision. */
  asked(known: number | undefined): void {
    if (known === undefined) return;
    this.#known = Math.max(this.#known, known);
    this.#askedAt = Date.now();
  }

  /** One step, after a change with this revision. */
  async go(revision: number): Promise<void> {
    const until = Date.now() + PATIENCE_MS;
    await sleep(this.step);
    const waits = () => this.#known < revision && Date.now() - this.#askedAt < GONE_MS && Date.now() < until;
    let waited = false;
    while (this.held || this.stops?.() || waits()) {
      waited = true;
      await sleep(LOOK_MS);
    }
    if (waited) await sleep(LOOK_MS);
  }
}
