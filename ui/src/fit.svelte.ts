/** Questions of the kind "would it fit?", asked while somebody moves a slider. */
import type { ApiError } from './api/ApiError';
import type { Call } from './api/Call';
import type { FitReport } from './api/FitReport';
import type { Reply } from './api/Reply';
import type { Together } from './api/Together';
import { asApiError, expectReply } from './backend/backend';
import type { Wish } from './memory';

const REST_MS = 150;

/** One question at a time: it goes out once the hand rests, and a late answer to an earlier one is dropped. */
export class Question<T> {
  answer = $state.raw<T | null>(null);
  error = $state.raw<ApiError | null>(null);
  pending = $state(false);

  readonly #read: (reply: Reply) => T;
  readonly #call: (call: Call) => Promise<Reply>;
  #asked = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(call: (call: Call) => Promise<Reply>, read: (reply: Reply) => T) {
    this.#call = call;
    this.#read = read;
  }

  /** Asks after a rest. Until the answer comes, the last one stands. */
  ask(call: Call, rest = REST_MS): void {
    clearTimeout(this.#timer);
    const question = ++this.#asked;
    this.pending = true;
    this.#timer = setTimeout(() => void this.#send(call, question), rest);
  }

  /** Forgets question and answer. */
  clear(): void {
    clearTimeout(this.#timer);
    this.#asked += 1;
    this.answer = null;
    this.error = null;
    this.pending = false;
  }

  /** Ends it with whoever asked: a late answer is dropped. What stands is left, since parts that are going still read it. */
  close(): void {
    clearTimeout(this.#timer);
    this.#asked += 1;
  }

  async #send(call: Call, question: number): Promise<void> {
    try {
      const answer = this.#read(await this.#call(call));
      if (question !== this.#asked) return;
      this.answer = answer;
      this.error = null;
    } catch (error) {
      if (question !== this.#asked) return;
      this.answer = null;
      this.error = asApiError(error);
    }
    this.pending = false;
  }
}

/** Whether certain models fit, and which fit together. */
export class WhatIf {
  readonly fit: Question<FitReport>;
  readonly together: Question<Together>;

  constructor(call: (call: Call) => Promise<Reply>) {
    this.fit = new Question(call, (reply) => expectReply(reply, 'fit').report);
    this.together = new Question(call, (reply) => expectReply(reply, 'together').together);
  }

  askFit(models: string[], wish: Wish): void {
    if (models.length === 0) this.fit.clear();
    else this.fit.ask({ call: 'fit', models, ...given(wish) });
  }

  askTogether(wish: Wish): void {
    this.together.ask({ call: 'fit_together', ...given(wish) }, 0);
  }

  close(): void {
    this.fit.close();
    this.together.close();
  }
}

/** What is not wished is left out: then the engine reckons as the server loads. */
function given({ context, parallel, kv }: Wish): { context?: number; parallel?: number; kv?: string } {
  return {
    ...(context === null ? {} : { context }),
    ...(parallel === null ? {} : { parallel }),
    ...(kv === null ? {} : { kv }),
  };
}
