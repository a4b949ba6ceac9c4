/** The snapshot as views read it: whoever reads a part follows that part alone, and most answers change two of them. */
import type { Snapshot } from './api/Snapshot';

class Part<T> {
  value = $state.raw() as T;

  constructor(value: T) {
    this.value = value;
  }
}

/** One object for the life of a page. Its parts are its own properties, so that it can be spread and written like any other. */
export class LiveSnapshot {
  readonly view: Snapshot;
  readonly #parts = new Map<string, Part<unknown>>();

  constructor(first: Snapshot) {
    this.view = {} as Snapshot;
    this.show(first);
  }

  /** What is the same as before, nobody hears of. */
  show(snapshot: Snapshot): void {
    for (const [name, part] of this.#parts) if (!(name in snapshot)) part.value = undefined;
    for (const [name, value] of Object.entries(snapshot)) {
      const part = this.#parts.get(name);
      if (part === undefined) this.#add(name, value);
      else part.value = value;
    }
  }

  #add(name: string, value: unknown): void {
    const part = new Part(value);
    this.#parts.set(name, part);
    Object.defineProperty(this.view, name, { enumerable: true, configurable: true, get: () => part.value });
  }
}
