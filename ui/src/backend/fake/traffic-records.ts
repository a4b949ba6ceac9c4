/** The invented requests themselves. */
import type { RequestRecord } from '../../api/RequestRecord';

/** So many have ended. */
export const MANY = 130;
const EVERY_MS = 26_000;

const LONG_KEY = 'the-key-of-the-query-generator-of-the-research-group-on-the-second-floor-'.repeat(2).slice(0, 120);
const LONG_MODEL = 'hf.co/unsloth/Qwen3-30B-A3B-Instruct-2507-GGUF:UD-Q4_K_XL';

const nothing: Omit<RequestRecord, 'id' | 'at'> = {
  client: { key: null, program: null, pid: null },
  dialect: 'chat',
  asked: 'active',
  server: null,
  model: null,
  role: null,
  why: null,
  state: 'done',
  queued_ms: null,
  load_ms: null,
  ttft_ms: null,
  total_ms: null,
  tokens: { input: null, cached: null, output: null, counted: true },
  most_output: null,
  decode_tok_s: null,
  finish: null,
  status: 200,
  error: null,
  detail: null,
  streamed: true,
  governed: [],
  changed: [],
};

type Sketch = Partial<Omit<RequestRecord, 'tokens'>> & { by?: [string, string]; t?: [number, number, number] };

/** `by`: server and model. `t`: tokens in, cached, out. */
function sketch({ by, t, ...rest }: Sketch, counted = true): Omit<RequestRecord, 'id' | 'at'> {
  return {
    ...nothing,
    ...(by && { server: by[0], model: by[1] }),
    ...(t && { tokens: { input: t[0], cached: t[1], output: t[2], counted } }),
    ...rest,
  };
}

const studio: [string, string] = ['lmstudio', 'qwen2.5-7b-instruct-mlx'];
const small: [string, string] = ['lmstudio', 'qwen2.5-0.5b-instruct'];
const back: [string, string] = ['ollama', 'qwen2.5:3b'];
const program = (name: string, pid: number, key: string | null = null) => ({ key, program: name, pid });

const ENDED = [
  sketch({
    ...{ client: program('notes', 812, 'notes'), asked: 'critical', by: studio, role: 'critical', why: 'role' },
    ...{ queued_ms: 120, ttft_ms: 508, total_ms: 4630, t: [1866, 0, 296], decode_tok_s: 71.9, most_output: 1024 },
    ...{ finish: 'stop', governed: ['keep_alive'] },
  }),
  sketch({
    ...{ client: program('query-gen', 5031), asked: 'gpt-4o-mini', by: small, role: 'small', why: 'alias' },
    ...{ queued_ms: 0, ttft_ms: 41, total_ms: 250, t: [212, 190, 58], decode_tok_s: 284, finish: 'stop' },
  }),
  sketch({
    ...{ client: program('claude', 4410), dialect: 'messages', asked: 'critical', by: studio, role: 'critical' },
    ...{ why: 'role', state: 'failed', total_ms: 12, status: 400, finish: null },
    ...{ error: 'context_length_exceeded', detail: 'context is 8192', streamed: true },
  }),
  sketch({
    ...{ client: program('Continue', 2210), dialect: 'responses', by: studio, role: 'critical', why: 'role' },
    ...{ state: 'cancelled', queued_ms: 0, ttft_ms: 224, total_ms: 1910, t: [3020, 2816, 97], decode_tok_s: 57.6 },
  }),
  sketch({
    ...{ client: program('indexer', 5102, 'indexer'), dialect: 'embeddings', asked: 'embed', role: 'embed' },
    ...{ by: ['ollama', 'nomic-embed-text:latest'], why: 'role', queued_ms: 0, total_ms: 240, streamed: false },
  }),
  sketch({
    ...{ client: program('query-gen', 5031), asked: 'small', by: small, role: 'small', why: 'role' },
    ...{ queued_ms: 0, ttft_ms: 38, total_ms: 250, t: [204, 190, 61], decode_tok_s: 291, finish: 'stop' },
  }),
  sketch(
    {
      ...{ client: { key: null, program: null, pid: null }, asked: null, by: studio, role: 'active', why: 'role' },
      ...{ queued_ms: 0, load_ms: 3120, ttft_ms: 3710, total_ms: 6020, t: [640, 0, 143], most_output: 512 },
    },
    false,
  ),
  sketch({
    ...{ client: program('indexer', 5102, 'indexer'), dialect: 'ollama', asked: 'background', by: back },
    ...{ role: 'background', why: 'role', state: 'cut', queued_ms: 800, ttft_ms: 1104, total_ms: 2900 },
    ...{ t: [2298, 0, 120], error: 'switched', detail: 'a switch took its model' },
  }),
];

/** Those with names that are hard to draw. */
const HARD = [
  sketch({
    ...{ client: program('python3.12-with-a-very-long-program-name-indeed', 77, LONG_KEY), asked: LONG_MODEL },
    ...{ by: ['ollama', LONG_MODEL], why: 'own_name', queued_ms: 0, ttft_ms: 2210, total_ms: 61_400 },
    ...{ t: [130_912, 128_000, 4096], decode_tok_s: 58.3, most_output: 4096, finish: 'length' },
    ...{ governed: ['keep_alive', 'num_ctx', 'num_predict', 'ttl'], changed: ['model', 'stream_options'] },
  }),
  sketch({
    ...{ client: program('مساعد-الكتابة-العربي', 78), asked: 'دגם-שפה-עברי-גדול-לשיחות', state: 'failed', total_ms: 3 },
    ...{ status: 404, error: 'model_not_found', detail: `no model is called ${LONG_MODEL}, and no rule leads to one` },
  }),
];

export function endedRequests(began: number, hard: boolean): RequestRecord[] {
  const kinds = hard ? [...HARD, ...ENDED] : ENDED;
  return Array.from({ length: MANY }, (_, index) => ({
    ...(kinds[index % kinds.length] ?? nothing),
    id: MANY - index,
    at: new Date(began - 14_000 - index * EVERY_MS).toISOString(),
  }));
}

/** Four that go on, and never end. */
export function liveRequests(began: number, now: number, hard: boolean): RequestRecord[] {
  const since = Math.max(0, now - began);
  const grown = (from: number, rate: number, most: number) =>
    Math.min(most - 1, Math.round(from + (since / 1000) * rate));
  const live = [
    sketch({
      ...{ client: program('aider', 6120), by: studio, role: 'critical', why: 'role', state: 'answering' },
      ...{ asked: 'critical', queued_ms: 0, t: [6912, 0, 0], status: null },
    }),
    sketch({
      ...{ client: program('indexer', 5102, 'indexer'), dialect: 'ollama', asked: 'background', state: 'waiting' },
      status: null,
    }),
    sketch(
      {
        ...{
          client: program('open-webui', 901, hard ? LONG_KEY : 'open-webui'),
          by: studio,
          role: 'active',
          why: 'role',
        },
        ...{ state: 'answering', queued_ms: 0, ttft_ms: 188, most_output: 2048 },
        ...{ t: [1204, 896, grown(143, 51, 2048)] },
      },
      false,
    ),
    sketch({
      ...{ client: program('zed', 3321), asked: 'granite3.3:2b', by: ['ollama', 'granite3.3:2b'], state: 'loading' },
      status: null,
    }),
  ];
  return live.map((one, index) => ({
    ...one,
    ...(index === 0 && { tokens: { input: 6912, cached: null, output: null, counted: false } }),
    id: MANY + live.length - index,
    at: new Date(began - 1000 - index * 3000).toISOString(),
  }));
}
