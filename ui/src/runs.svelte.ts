/** Past runs, asked for again whenever one ends or the filter changes. */
import type { ApiError } from './api/ApiError';
import type { Run } from './api/Run';
import type { RunState } from './api/RunState';
import { asApiError, expectReply } from './backend/backend';
import type { Store } from './store.svelte';

export interface RunFilter {
  model?: string;
  server?: string;
  plan?: string;
  state?: RunState;
  /** Unix milliseconds: begun then or later, and before. */
  since_ms?: number;
  until_ms?: number;
  limit: number;
  offset?: number;
}

export class Runs {
  /** Null while the first answer is on its way. */
  list = $state.raw<Run[] | null>(null);
  /** How many the filter lets through altogether. */
  total = $state(0);
  error = $state.raw<ApiError | null>(null);

  readonly #store: Store;
  #asked = 0;

  constructor(store: Store) {
    this.#store = store;
  }

  async load(filter: RunFilter): Promise<void> {
    const asked = ++this.#asked;
    try {
      const reply = expectReply(await this.#store.call({ call: 'history', ...filter }), 'runs');
      // A later question has been asked: this answer is to an old filter.
      if (asked !== this.#asked) return;
      this.list = reply.runs;
      this.total = Number(reply.total);
      this.error = null;
    } catch (error) {
      if (asked === this.#asked) this.error = asApiError(error);
    }
  }
}
