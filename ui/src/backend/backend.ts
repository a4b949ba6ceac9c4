import type { ApiError } from '../api/ApiError';
import type { Call } from '../api/Call';
import type { Reply } from '../api/Reply';

/** The one way from the UI to the engine. */
export interface Backend {
  /** Resolves with the reply or rejects with an `ApiError`. */
  call(call: Call): Promise<Reply>;
}

/** The kinds of replies that one call can have, so that a caller needs no cast. */
export type ReplyOf<K extends Reply['reply']> = Extract<Reply, { reply: K }>;

/** Whether something caught is an error in the engine's form. */
export function isApiError(value: unknown): value is ApiError {
  return typeof value === 'object' && value !== null && 'code' in value && 'message' in value;
}

/** Whatever was thrown, in the engine's form. */
export function asApiError(value: unknown): ApiError {
  if (isApiError(value)) return value;
  const message = value instanceof Error ? value.message : String(value);
  return { code: 'internal', message, hint: null, retry: false };
}

/** Narrows a reply to the kind that belongs to the call. A different one is a fault of the engine, and said so. */
export function expectReply<K extends Reply['reply']>(reply: Reply, kind: K): ReplyOf<K> {
  if (reply.reply === kind) return reply as ReplyOf<K>;
  const error: ApiError = {
    code: 'bad_answer',
    message: `Pilothouse answered with “${reply.reply}” where “${kind}” was expected.`,
    hint: 'Reload this page: it may be older than the engine.',
    retry: false,
  };
  throw error;
}
