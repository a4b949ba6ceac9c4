/** Words of the results of plans with a course of their own: an open loop, a conversation, a replay. */

export const openLoop = {
  title: 'Requests by plan',
  columns: { from: 'Counted', ttft: 'First token', e2e: 'Whole answer', requests: 'Requests' },
  p50: 'median',
  p95: '95 %',
  p99: '99 %',
  fromDue: 'from when it was due',
  fromSent: 'from when it was sent',
  waiting: 'as a client that waits sees it',
  waitingMeaning: 'Only those requests that began when the one before them had ended',
  sent: (sent: number, planned: number) => `${sent} of ${planned} planned requests were sent.`,
  failed: (n: number) => (n === 1 ? '1 failed.' : `${n} failed.`),
  late: (n: number, most: string) =>
    `${n} were sent late, up to ${most}: at most 64 are under way at a time. They count from when they were due.`,
  rough: (n: number, greatest: string) =>
    `99 % of ${n} requests is a rough estimate; the greatest first token took ${greatest}.`,
};

export const conversation = {
  title: 'Turn by turn',
  columns: {
    turn: 'Turn',
    prompt: 'Prompt, tokens',
    cached: 'of them cached',
    kept: 'First token, beginning kept',
    anew: 'all read anew',
    saved: 'Saved',
  },
  meaning:
    'Each conversation is held twice with the same words: once with a beginning that the server may keep, and once with one that it cannot know.',
  notTold: 'the server does not say',
};

export const replay = {
  title: 'Spread over the prompts',
  columns: { what: 'Of the prompts', p5: '5 %', p50: 'Median', p95: '95 %', greatest: 'Greatest' },
  rows: {
    ttft_ms: 'First token',
    decode_tok_s: 'Decode',
    e2e_ms: 'Whole answer',
    prompt_tokens: 'Prompt tokens',
    output_tokens: 'Output tokens',
  },
  answered: (n: number, failed: number) => `${n} were answered${failed === 0 ? '.' : `, ${failed} were not.`}`,
};
