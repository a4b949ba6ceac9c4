import { describe, expect, it } from 'vitest';
import type { AnswerChunk } from '../src/api/AnswerChunk';
import type { Call } from '../src/api/Call';
import type { Reply } from '../src/api/Reply';
import { Conversation } from '../src/answer.svelte';

const base: AnswerChunk = {
  answer: 4,
  text: '',
  offset: 0,
  done: false,
  waiting: null,
  server: 'ollama',
  model: 'smollm2:135m',
  ttft_ms: null,
  decode_tok_s: null,
  output_tokens: null,
  error: null,
};

/** Answers "ask" with 4 and each read with the next piece. */
function scripted(pieces: Partial<AnswerChunk>[]) {
  const calls: Call[] = [];
  const call = async (asked: Call): Promise<Reply> => {
    calls.push(asked);
    if (asked.call === 'ask') return { reply: 'asked', answer: 4 };
    if (asked.call !== 'read_answer') return { reply: 'done' };
    const piece = pieces.shift();
    if (piece === undefined) throw new Error('read past the end');
    return { reply: 'answer', chunk: { ...base, ...piece } };
  };
  return { calls, call };
}

describe('an answer', () => {
  it('is read by offset until it is done', async () => {
    const { calls, call } = scripted([
      {},
      { text: 'A ship', offset: 6 },
      { text: ' has one.', offset: 15, done: true, decode_tok_s: 104 },
    ]);
    const conversation = new Conversation(call);
    await conversation.ask('What?');
    expect(conversation.text).toBe('A ship has one.');
    expect(conversation.state).toBe('done');
    expect(conversation.last?.decode_tok_s).toBe(104);
    expect(calls.filter((one) => one.call === 'read_answer').map((one) => one.offset)).toEqual([0, 0, 6]);
  });

  it('that fails keeps what was written', async () => {
    const error = { code: 'server_crashed', message: 'Ollama stopped.', hint: null, retry: true } as const;
    const { call } = scripted([
      { text: 'A sh', offset: 4 },
      { offset: 4, done: true, error },
    ]);
    const conversation = new Conversation(call);
    await conversation.ask('What?');
    expect(conversation.state).toBe('failed');
    expect(conversation.text).toBe('A sh');
    expect(conversation.error?.code).toBe('server_crashed');
  });

  it('that is stopped is cancelled and read no further', async () => {
    const calls: Call[] = [];
    let release: (reply: Reply) => void = () => undefined;
    const conversation = new Conversation(async (asked) => {
      calls.push(asked);
      if (asked.call === 'ask') return { reply: 'asked', answer: 4 };
      if (asked.call === 'read_answer') return new Promise<Reply>((resolve) => (release = resolve));
      return { reply: 'done' };
    });
    const done = conversation.ask('What?');
    while (calls.at(-1)?.call !== 'read_answer') await Promise.resolve();
    await conversation.stop();
    release({ reply: 'answer', chunk: { ...base, text: 'late', offset: 4 } });
    await done;
    expect(calls.map((one) => one.call)).toEqual(['ask', 'read_answer', 'cancel_answer']);
    expect(conversation.state).toBe('stopped');
  });

  it('that was stopped before it had a number is cancelled as soon as it has one', async () => {
    const calls: Call[] = [];
    let release: (reply: Reply) => void = () => undefined;
    const conversation = new Conversation(async (asked) => {
      calls.push(asked);
      return asked.call === 'ask' ? new Promise<Reply>((resolve) => (release = resolve)) : { reply: 'done' };
    });
    const done = conversation.ask('What?');
    await conversation.stop();
    release({ reply: 'asked', answer: 4 });
    await done;
    expect(calls).toEqual([
      { call: 'ask', prompt: 'What?' },
      { call: 'cancel_answer', answer: 4 },
    ]);
  });

  it('that cannot begin says why', async () => {
    const refusal = {
      code: 'no_active_model',
      message: 'No model is active.',
      hint: 'Switch to one.',
      retry: false,
    } as const;
    const conversation = new Conversation(() => Promise.reject(refusal));
    await conversation.ask('What?');
    expect(conversation.error).toEqual(refusal);
  });
});
