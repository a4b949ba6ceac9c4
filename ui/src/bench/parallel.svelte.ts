/** A change of how many requests at a time a model answers, which this page asked for, and the minute in which it can be undone. */
import type { ApiError } from '../api/ApiError';
import type { Call } from '../api/Call';
import type { ParallelReport } from '../api/ParallelReport';
import { asApiError, expectReply } from '../backend/backend';
import type { Store } from '../store.svelte';

export class ParallelChange {
  underWay = $state<'use' | 'undo' | null>(null);
  error = $state.raw<ApiError | null>(null);
  done = $state.raw<{ report: ParallelReport; undone: boolean } | null>(null);
  /** Whole seconds in which it can still be undone. */
  undoLeft = $state(0);
  #until = 0;
  readonly #store: Store;
  readonly #now: () => number;

  constructor(store: Store, now: () => number = Date.now) {
    this.#store = store;
    this.#now = now;
  }

  use(model: string, server: string, parallel: number): Promise<void> {
    return this.#change('use', { call: 'use_parallel', model, server, parallel });
  }

  undo(): Promise<void> {
    return this.#change('undo', { call: 'undo_parallel' });
  }

  cancel(): void {
    // It may have ended in the same moment.
    void this.#store.call({ call: 'cancel_parallel' }).catch(() => undefined);
  }

  /** Counts the seconds down. */
  tick(): void {
    this.undoLeft = Math.max(0, Math.ceil((this.#until - this.#now()) / 1000));
  }

  async #change(what: 'use' | 'undo', call: Call): Promise<void> {
    this.underWay = what;
    this.error = null;
    try {
      const { report } = expectReply(await this.#store.call(call), 'parallel');
      this.done = { report, undone: what === 'undo' };
      this.#until = this.#now() + report.undo_s * 1000;
    } catch (failure) {
      const caught = asApiError(failure);
      this.error = caught.code === 'cancelled' ? null : caught;
    } finally {
      this.underWay = null;
      this.tick();
    }
  }
}
