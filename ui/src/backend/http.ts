import type { ApiError } from '../api/ApiError';
import type { Call } from '../api/Call';
import type { Reply } from '../api/Reply';
import { isApiError, type Backend } from './backend';

/** Where earlier versions kept the token. */
const OLD_KEY = 'pilothouse.token';

/**
 * Takes the token out of the address (`#token=…`) and removes it from the address bar, so that it reaches neither the
 * browser's history nor a copied link. It is kept nowhere: the door gives a cookie for it.
 */
export function takeToken(location: Location, history: History, storage: Storage): string | null {
  storage.removeItem(OLD_KEY);
  const given = new URLSearchParams(location.hash.replace(/^#/, '')).get('token');
  if (given === null || given === '') return null;
  history.replaceState(null, '', location.pathname + location.search);
  return given;
}

/** Talks to the engine's door over HTTP. */
export class HttpBackend implements Backend {
  readonly #token: string | null;
  readonly #fetch: typeof fetch;
  /** The door has been asked to know this browser again; null: not yet. */
  #introduced: Promise<void> | null = null;

  constructor(token: string | null, fetcher: typeof fetch = globalThis.fetch.bind(globalThis)) {
    this.#token = token;
    this.#fetch = fetcher;
  }

  async call(call: Call): Promise<Reply> {
    // The token or the cookie does for this call already: a page that opens need not wait for being known the next time.
    if (this.#token === null) await this.#introduce();
    else this.#introduce().catch(() => undefined);
    const response = await this.#post('/api/call', JSON.stringify(call));
    if (response.status === 401) throw unauthorized();
    const body = await readJson(response);
    if (response.ok) return body as Reply;
    const error = typeof body === 'object' && body !== null && 'error' in body ? body.error : null;
    if (isApiError(error)) throw error;
    throw badAnswer(response.status);
  }

  /** Once for each page: the cookie is given for the token, or lasts longer again. */
  async #introduce(): Promise<void> {
    this.#introduced ??= this.#post('/api/session', null).then((response) => {
      if (response.status === 401) throw unauthorized();
    });
    try {
      await this.#introduced;
    } catch (error) {
      this.#introduced = null;
      throw error;
    }
  }

  async #post(path: string, body: string | null): Promise<Response> {
    const headers: Record<string, string> = {};
    if (body !== null) headers['content-type'] = 'application/json';
    if (this.#token !== null) headers.authorization = `Bearer ${this.#token}`;
    try {
      return await this.#fetch(path, { method: 'POST', headers, body, credentials: 'same-origin' });
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
    message: 'This browser is not known here.',
    hint: 'Run “pilothouse status”: it prints an address with the token.',
    retry: false,
  };
}

function unreachable(): ApiError {
  return {
    code: 'unreachable',
    message: 'Pilothouse does not answer.',
    hint: 'Start the app or “pilothouse serve”; this page goes on by itself.',
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
