/** The requests and sums that the page Traffic shows, asked for again while somebody looks. */
import type { ApiError } from './api/ApiError';
import type { RequestRecord } from './api/RequestRecord';
import type { TokenRates } from './api/TokenRates';
import type { TrafficTotals } from './api/TrafficTotals';
import { asApiError, expectReply } from './backend/backend';
import { spans } from './series';
import type { Store } from './store.svelte';
import { heldStill, trafficCallOf, type TrafficView } from './traffic';

/** Between two questions for the list and for the sums while nothing is under way: a request may come and go between two looks. */
const CALM_MS = 4000;
const SUMS_BUSY_MS = 4000;
const SUMS_CALM_MS = 15_000;

export class TrafficList {
  /** Null: there was no answer yet. */
  rows = $state.raw<RequestRecord[] | null>(null);
  /** Older ones follow. */
  more = $state(false);
  /** So many newer ones wait while the list is held still. */
  newer = $state(0);
  error = $state.raw<ApiError | null>(null);
  totals = $state.raw<TrafficTotals | null>(null);
  rates = $state.raw<TokenRates | null>(null);
  totalsError = $state.raw<ApiError | null>(null);

  readonly #store: Store;
  #view: TrafficView | null = null;
  #held = false;
  #fresh: RequestRecord[] = [];
  #asked = 0;
  #underWay = false;
  #listAt = -Infinity;
  #sumsAt = -Infinity;
  #sums = 0;
  #wasBusy = false;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Shows something else: the new answer takes the place of what is there, held or not. */
  show(view: TrafficView): void {
    const span = this.#view?.span;
    this.#view = view;
    void this.#load(true);
    if (span !== view.span) void this.#sum();
  }

  /** Looks again if something can have changed since. */
  look(): void {
    const traffic = this.#store.snapshot?.traffic;
    const busy = traffic !== undefined && (traffic.in_flight > 0 || (traffic.tok_s ?? 0) > 0);
    const now = this.#store.now;
    // Once more after the last one has ended.
    const often = busy || this.#wasBusy;
    this.#wasBusy = busy;
    if (!this.#underWay && now - this.#listAt >= (often ? 0 : CALM_MS)) void this.#load(false);
    if (now - this.#sumsAt >= (busy ? SUMS_BUSY_MS : SUMS_CALM_MS)) void this.#sum();
  }

  /** Rows keep their places while somebody points at them, or has asked for a pause. */
  hold(held: boolean): void {
    this.#held = held;
    if (!held && this.rows !== null) this.#put(true);
  }

  async #load(anew: boolean): Promise<void> {
    if (this.#view === null) return;
    const asked = ++this.#asked;
    this.#underWay = true;
    this.#listAt = this.#store.now;
    try {
      const reply = expectReply(await this.#store.call(trafficCallOf(this.#view)), 'traffic');
      // Something else is asked for meanwhile.
      if (asked !== this.#asked) return;
      this.#fresh = reply.requests;
      this.more = reply.more;
      this.error = null;
      this.#put(anew || !this.#held);
    } catch (failure) {
      if (asked !== this.#asked) return;
      this.error = asApiError(failure);
      // What is there is of another question.
      if (anew) this.rows = null;
    } finally {
      if (asked === this.#asked) this.#underWay = false;
    }
  }

  #put(all: boolean): void {
    if (all || this.rows === null) {
      this.rows = this.#fresh;
      this.newer = 0;
    } else ({ rows: this.rows, newer: this.newer } = heldStill(this.rows, this.#fresh));
  }

  async #sum(): Promise<void> {
    if (this.#view === null) return;
    const asked = ++this.#sums;
    this.#sumsAt = this.#store.now;
    try {
      const call = { call: 'traffic_totals', span_s: spans[this.#view.span] } as const;
      const reply = expectReply(await this.#store.call(call), 'traffic_totals');
      if (asked !== this.#sums) return;
      this.totals = reply.totals;
      this.rates = reply.rates;
      this.totalsError = null;
    } catch (failure) {
      if (asked === this.#sums) this.totalsError = asApiError(failure);
    }
  }
}
