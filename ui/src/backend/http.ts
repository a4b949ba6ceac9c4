import type { ApiError } from '../api/ApiError';
import type { Call } from '../api/Call';
import type { Reply } from '../api/Reply';
import { isApiError, type Backend } from './backend';

const KEY = 'pilothouse.token';

/**
 * Takes the token out of the address (`#token=…`), keeps it for this tab and removes it from the address bar, so that
 * it reaches neither the browser's history nor a copied link.
 */
export function takeToken(location: Location, history: History, storage: Storage): string | null {
  const given = new URLSearchParams(location.hash.replace(/^#/, '')).get('token');
  if (given === null || given === '') return storage.getItem(KEY);
  storage.setItem(KEY, given);
  history.replaceState(null, '', location.pathname + location.search);
  return given;
}

/** Talks to the engine's door over HTTP. */
export class HttpBackend implements Backend {
  readonly #token: string | null;
  readonly #fetch: typeof fetch;

  constructor(token: string | null, fetcher: typeof fetch = globalThis.fetch.bind(globalThis)) {
    this.#token = token;
    this.#fetch = fetcher;
  }

  async call(call: Call): Promise<Reply> {
    if (this.#token === null) throw unauthorized();
    const response = await this.#post(call, this.#token);
    if (response.status === 401) throw unauthorized();
    const body = await readJson(response);
    if (response.ok) return body as Reply;
    const error = typeof body === 'object' && body !== null && 'error' in body ? body.error : null;
    if (isApiError(error)) throw error;
    throw badAnswer(response.status);
  }

  async #post(call: Call, token: string): Promise<Response> {
    try {
      return await this.#fetch('/api/call', {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
        body: JSON.stringify(call),
      });
    } catch {
      throw unreachable();
    }
  }
}

async function readJson(response: Response): Promise<unknown> {
  try {
    return await response.json();
  } catch {
    throw badAnswer(response.status);
  }
}

function unauthorized(): ApiError {
  return {
    code: 'unauthorized',
    message: 'This address has no valid token.',
    hint: 'Run `pilothouse status`: it prints a fresh address.',
    retry: false,
  };
}

function unreachable(): ApiError {
  return {
    code: 'unreachable',
    message: 'Pilothouse does not answer.',
    hint: 'Start the app or `pilothouse serve`; this page goes on by itself.',
    retry: true,
  };
}

function badAnswer(status: number): ApiError {
  return {
    code: 'bad_answer',
    message: `Something answered with HTTP ${status}, but not as Pilothouse does.`,
    hint: 'Check that no other program listens on this port.',
    retry: true,
  };
}
