import { untrack } from 'svelte';
import type { Snapshot } from '../src/api/Snapshot';

/** Counts how often two parts of a snapshot were news. */
export class Following {
  seen = { models: 0, gauges: 0 };
  readonly #view: Snapshot;

  constructor(view: Snapshot) {
    this.#view = view;
  }

  start(): () => void {
    return $effect.root(() => {
      $effect.pre(() => {
        void this.#view.models;
        untrack(() => (this.seen.models += 1));
      });
      $effect.pre(() => {
        void this.#view.gauges;
        untrack(() => (this.seen.gauges += 1));
      });
    });
  }
}
