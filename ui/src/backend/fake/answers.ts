/** Answers of the simulated engine: the same words each time, in pieces. */
import type { Active } from '../../api/Active';
import type { Reply } from '../../api/Reply';
import { fault, sleep } from './fault';

const ANSWER =
  'A pilothouse is the room on a ship from which it is steered. It stands high, so that the helmsman sees the water on all sides.';

export class FakeAnswers {
  readonly #step: number;
  readonly #asked = new Map<number, { prompt: string; startedAt: number; stopped: boolean }>();

  /** `step`: milliseconds that a simulated step takes; an answer takes six. */
  constructor(step: number) {
    this.#step = step;
  }

  ask(prompt: string, active: Active | null): Reply {
    if (active === null) throw fault('no_active_model', 'No model is active.', 'Switch to one first.');
    const answer = this.#asked.size + 1;
    this.#asked.set(answer, { prompt, startedAt: Date.now(), stopped: false });
    return { reply: 'asked', answer };
  }

  async read(answer: number, offset: number, active: Active | null): Promise<Reply> {
    const asked = this.#asked.get(answer);
    if (asked === undefined || active === null) throw fault('not_found', 'That answer is gone.');
    await sleep(this.#step / 3);
    const shown = Math.min(
      ANSWER.length,
      Math.floor(((Date.now() - asked.startedAt) / (this.#step * 6)) * ANSWER.length),
    );
    return {
      reply: 'answer',
      chunk: {
        answer,
        text: ANSWER.slice(offset, shown),
        offset: Math.max(offset, shown),
        done: shown === ANSWER.length || asked.stopped,
        server: active.server,
        model: active.model,
        ttft_ms: shown > 0 ? 38 : null,
        decode_tok_s: shown > 8 ? 104 : null,
        waiting: null,
        output_tokens: Math.ceil(shown / 5),
        error: null,
      },
    };
  }

  stop(answer: number): Reply {
    const asked = this.#asked.get(answer);
    if (asked === undefined) throw fault('not_found', 'That answer is gone.');
    asked.stopped = true;
    return { reply: 'done' };
  }

  /** How many are under way. */
  underWay(): number {
    const ends = Date.now() - this.#step * 6;
    return [...this.#asked.values()].filter((one) => !one.stopped && one.startedAt > ends).length;
  }
}
