/** One question to the active model, read piece by piece. */
import type { AnswerChunk } from './api/AnswerChunk';
import type { ApiError } from './api/ApiError';
import type { Call } from './api/Call';
import type { Reply } from './api/Reply';
import { asApiError, expectReply } from './backend/backend';

export type AnswerState = 'idle' | 'waiting' | 'reading' | 'done' | 'stopped' | 'failed';

/** Holds the question and its answer. The engine waits up to a second in each read, so no timer is needed here. */
export class Conversation {
  state = $state<AnswerState>('idle');
  text = $state('');
  /** The last piece: who answers, and how fast. */
  last = $state.raw<AnswerChunk | null>(null);
  error = $state.raw<ApiError | null>(null);

  readonly #call: (call: Call) => Promise<Reply>;
  #answer: number | null = null;
  /** Counts the questions, so that a late piece of an earlier one is not mixed into this one. */
  #question = 0;

  constructor(call: (call: Call) => Promise<Reply>) {
    this.#call = call;
  }

  get underWay(): boolean {
    return this.state === 'waiting' || this.state === 'reading';
  }

  async ask(prompt: string): Promise<void> {
    const question = ++this.#question;
    this.state = 'waiting';
    this.text = '';
    this.last = null;
    this.error = null;
    try {
      const { answer } = expectReply(await this.#call({ call: 'ask', prompt }), 'asked');
      if (question !== this.#question || !this.underWay) return await this.#cancel(answer);
      this.#answer = answer;
      await this.#readAll(question, answer);
    } catch (error) {
      if (question === this.#question && this.underWay) this.#fail(asApiError(error));
    }
  }

  async stop(): Promise<void> {
    const answer = this.#answer;
    this.state = 'stopped';
    this.#answer = null;
    if (answer !== null) await this.#cancel(answer);
  }

  async #cancel(answer: number): Promise<void> {
    try {
      await this.#call({ call: 'cancel_answer', answer });
    } catch {
      // It ended by itself in the meantime: nothing is left to stop.
    }
  }

  async #readAll(question: number, answer: number): Promise<void> {
    let offset = 0;
    while (question === this.#question && this.underWay) {
      const { chunk } = expectReply(await this.#call({ call: 'read_answer', answer, offset }), 'answer');
      if (question !== this.#question) return;
      this.text += chunk.text;
      this.last = chunk;
      offset = chunk.offset;
      // "Stop" may have been pressed while this piece was on its way.
      if (!this.underWay) return;
      if (chunk.error !== null) return this.#fail(chunk.error);
      if (chunk.done) {
        this.state = 'done';
        return;
      }
      if (this.text !== '') this.state = 'reading';
    }
  }

  #fail(error: ApiError): void {
    this.state = 'failed';
    this.error = error;
  }
}
