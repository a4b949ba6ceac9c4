/** What the past says of the models, asked again when a run or a switch has ended. The last answer stands until the next. */
import type { ApiError } from './api/ApiError';
import type { ModelFacts } from './api/ModelFacts';
import { asApiError, expectReply } from './backend/backend';
import type { Store } from './store.svelte';

export class Facts {
  byId = $state.raw<ReadonlyMap<string, ModelFacts>>(new Map());
  /** Whether there was an answer, good or bad. */
  answered = $state(false);
  error = $state.raw<ApiError | null>(null);
  readonly #store: Store;
  #asked = 0;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Changes with whatever may change the answer. Derived, not asked: who follows a getter follows every snapshot. */
  readonly cause = $derived.by((): string => {
    const snapshot = this.#store.snapshot;
    if (snapshot === null) return '';
    const { last_run, last_switch, models } = snapshot;
    return JSON.stringify([last_run?.run_id, last_run?.state, last_switch?.switch_id, models.map(({ id }) => id)]);
  });

  async load(): Promise<void> {
    const asked = ++this.#asked;
    try {
      const { models } = expectReply(await this.#store.call({ call: 'model_facts' }), 'model_facts');
      if (asked !== this.#asked) return;
      this.byId = new Map(models.map((one) => [one.id, one]));
      this.error = null;
    } catch (failure) {
      if (asked !== this.#asked) return;
      this.error = asApiError(failure);
    }
    this.answered = true;
  }
}
