/** The pages that are not seen first: a file of their own, so that the first one is there sooner. */
import type Pages from './views/Pages.svelte';

class LatePages {
  /** Null: not here yet. */
  view = $state.raw<typeof Pages | null>(null);
  /** The file did not come: Pilothouse was ended or updated since this page was opened. */
  failed = $state(false);
  #coming = false;

  /** Fetches them, unless they are here or on their way. */
  async load(): Promise<void> {
    if (this.view !== null || this.#coming) return;
    this.#coming = true;
    this.failed = false;
    try {
      this.view = (await import('./views/Pages.svelte')).default;
    } catch {
      this.failed = true;
    } finally {
      this.#coming = false;
    }
  }
}

export const latePages = new LatePages();
