/** Past runs, asked for again whenever one ends or the filter changes. */
import type { ApiError } from './api/ApiError';
import type { Run } from './api/Run';
import { asApiError, expectReply } from './backend/backend';
import type { Store } from './store.svelte';

export interface RunFilter {
  model?: string;
  server?: string;
  limit: number;
}

export class Runs {
  /** Null while the first answer is on its way. */
  list = $state.raw<Run[] | null>(null);
  error = $state.raw<ApiError | null>(null);

  readonly #store: Store;
  #asked = 0;

  constructor(store: Store) {
    this.#store = store;
  }

  async load(filter: RunFilter): Promise<void> {
    const asked = ++this.#asked;
    try {
      const reply = await this.#store.call({ call: 'history', ...filter });
      // A later question has been asked: this answer is to an old filter.
      if (asked !== this.#asked) return;
      this.list = expectReply(reply, 'runs').runs;
      this.error = null;
    } catch (error) {
      if (asked === this.#asked) this.error = asApiError(error);
    }
  }
}
