/** One benchmark that this page asked for, until it ends. */
import type { ApiError } from '../api/ApiError';
import { asApiError } from '../backend/backend';
import type { Store } from '../store.svelte';
import type { BenchCall } from './plans';

/** What came of it, and where it is shown. */
export interface Result {
  words: string;
  detail: string;
}

export class BenchRequest {
  underWay = $state(false);
  error = $state.raw<ApiError | null>(null);
  /** Of a comparison or a run that ended while the page was open. */
  result = $state.raw<Result | null>(null);
  /** What the engine says of one that was cancelled; null: none was. */
  cancelled = $state<string | null>(null);
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Returns what came of it; null when it was cancelled or failed. */
  async start(call: BenchCall): Promise<Result | null> {
    this.underWay = true;
    this.error = null;
    this.result = null;
    this.cancelled = null;
    try {
      const reply = await this.#store.call(call);
      if (reply.reply === 'comparison') {
        const { a, b, sentence } = reply.comparison;
        this.result = { words: sentence, detail: pairPath(a.run_id, b.run_id) };
      } else if (reply.reply === 'run') this.result = { words: '', detail: String(reply.detail.run.run_id) };
      return this.result;
    } catch (failure) {
      const caught = asApiError(failure);
      if (caught.code === 'cancelled') this.cancelled = caught.message;
      else this.error = caught;
      return null;
    } finally {
      this.underWay = false;
    }
  }
}

/** The part of the address that names a comparison: "17-18". */
export function pairPath(a: number, b: number): string {
  return `${a}-${b}`;
}

/** What the address names: a run, or two runs held against each other; null: neither. */
export function parsePath(detail: string | null): { run: number } | { a: number; b: number } | null {
  const found = /^(\d+)(?:-(\d+))?$/.exec(detail ?? '');
  if (found === null) return null;
  return found[2] === undefined ? { run: Number(found[1]) } : { a: Number(found[1]), b: Number(found[2]) };
}
