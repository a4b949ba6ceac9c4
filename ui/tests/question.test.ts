import { describe, expect, it, vi } from 'vitest';
import type { Reply } from '../src/api/Reply';
import { Question } from '../src/fit.svelte';

describe('a question', () => {
  const words = (reply: Reply) => JSON.stringify(reply);

  /** Answers by hand, in the order in which they are asked for. */
  function asked() {
    const late: ((reply: Reply) => void)[] = [];
    const call = vi.fn(() => new Promise<Reply>((resolve) => late.push(resolve)));
    return { question: new Question(call, words), late, call };
  }
  const unchanged = (revision: number): Reply => ({ reply: 'unchanged', revision, now: '' });

  it('that is closed keeps what stands, asks no more, and drops what comes late', async () => {
    vi.useFakeTimers();
    const { question, late, call } = asked();
    question.ask({ call: 'undo' }, 0);
    await vi.runAllTimersAsync();
    late[0]?.(unchanged(1));
    await vi.runAllTimersAsync();
    expect(question.answer).toContain('"revision":1');
    question.ask({ call: 'undo' }, 0);
    await vi.runAllTimersAsync();
    question.ask({ call: 'undo' }, 100);
    question.close();
    late[1]?.(unchanged(2));
    await vi.runAllTimersAsync();
    expect(question.answer).toContain('"revision":1');
    expect(call).toHaveBeenCalledTimes(2);
    vi.useRealTimers();
  });

  it('that is cleared forgets its answer at once', async () => {
    vi.useFakeTimers();
    const { question, late } = asked();
    question.ask({ call: 'undo' }, 0);
    await vi.runAllTimersAsync();
    late[0]?.(unchanged(1));
    await vi.runAllTimersAsync();
    question.clear();
    expect([question.answer, question.pending]).toEqual([null, false]);
    vi.useRealTimers();
  });
});
