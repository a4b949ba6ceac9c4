/** One question to the engine whose answer a page shows; the last question wins, however late an earlier answer comes. */
import type { ApiError } from './api/ApiError';
import { asApiError } from './backend/backend';

export class Asked<T> {
  /** Null while the answer is on its way. */
  value = $state.raw<T | null>(null);
  error = $state.raw<ApiError | null>(null);
  #asked = 0;

  async ask(question: () => Promise<T>): Promise<void> {
    const asked = ++this.#asked;
    this.value = null;
    this.error = null;
    try {
      const value = await question();
      if (asked === this.#asked) this.value = value;
    } catch (failure) {
      if (asked === this.#asked) this.error = asApiError(failure);
    }
  }
}
