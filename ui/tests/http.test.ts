import { beforeEach, describe, expect, it, vi } from 'vitest';
import { HttpBackend, takeToken } from '../src/backend/http';

beforeEach(() => {
  sessionStorage.clear();
  history.replaceState(null, '', '/');
});

describe('the token', () => {
  it('is taken from the address once, removed from it and kept nowhere', () => {
    history.replaceState(null, '', '/?a=b#token=secret');
    expect(takeToken(location, history, sessionStorage)).toBe('secret');
    expect(location.href).not.toContain('secret');
    expect(location.search).toBe('?a=b');
    expect(sessionStorage.length + localStorage.length).toBe(0);
    expect(takeToken(location, history, sessionStorage)).toBeNull();
  });

  it('that an earlier version kept is forgotten', () => {
    sessionStorage.setItem('pilothouse.token', 'old');
    expect(takeToken(location, history, sessionStorage)).toBeNull();
    expect(sessionStorage.length).toBe(0);
  });

  it('leaves the address of a page alone', () => {
    history.replaceState(null, '', '/#/history');
    expect(takeToken(location, history, sessionStorage)).toBeNull();
    expect(location.hash).toBe('#/history');
  });
});

describe('calls over HTTP', () => {
  const respond = (status: number, body: string) => vi.fn<typeof fetch>(async () => new Response(body, { status }));

  it('ask once to be known again, with the token if there is one, and carry the call as the body', async () => {
    for (const [token, authorization] of [
      ['secret', 'Bearer secret'],
      [null, null],
    ]) {
      const fetcher = respond(200, '{"reply":"unchanged","revision":3}');
      const backend = new HttpBackend(token ?? null, fetcher);
      const replies = [backend.call({ call: 'snapshot', known: 3 }), backend.call({ call: 'snapshot', known: 3 })];
      expect(await Promise.all(replies)).toEqual(Array(2).fill({ reply: 'unchanged', revision: 3 }));
      expect(fetcher.mock.calls.map(([url]) => url)).toEqual(['/api/session', '/api/call', '/api/call']);
      for (const [, init] of fetcher.mock.calls) {
        expect(init?.method).toBe('POST');
        expect(new Headers(init?.headers).get('authorization')).toBe(authorization);
      }
      expect(fetcher.mock.calls[1]?.[1]?.body).toBe('{"call":"snapshot","known":3}');
    }
  });

  it('try again to be known when the door did not answer, or knew nobody', async () => {
    const answers = [new TypeError('Failed to fetch'), 401, 204, 200];
    const fetcher = vi.fn<typeof fetch>(async () => {
      const answer = answers.shift();
      if (answer instanceof Error) throw answer;
      return new Response(answer === 200 ? '{"reply":"done"}' : null, { status: Number(answer) });
    });
    const backend = new HttpBackend(null, fetcher);
    await expect(backend.call({ call: 'refresh' })).rejects.toMatchObject({ code: 'unreachable' });
    await expect(backend.call({ call: 'refresh' })).rejects.toMatchObject({ code: 'unauthorized' });
    expect(await backend.call({ call: 'refresh' })).toEqual({ reply: 'done' });
  });

  it('reject with the error in the body', async () => {
    const error = { code: 'busy', message: 'A benchmark is under way.', hint: null, retry: true };
    const backend = new HttpBackend('secret', respond(409, JSON.stringify({ schema: 1, error })));
    await expect(backend.call({ call: 'bench' })).rejects.toEqual(error);
  });

  it.each([
    ['a refused token', respond(401, ''), 'unauthorized'],
    ['something else than JSON', respond(502, '<html>'), 'bad_answer'],
    ['JSON of something else', respond(404, '{"detail":"no"}'), 'bad_answer'],
    ['no connection', vi.fn<typeof fetch>(() => Promise.reject(new TypeError('Failed to fetch'))), 'unreachable'],
  ])('name %s', async (_, fetcher, code) => {
    await expect(new HttpBackend('secret', fetcher).call({ call: 'refresh' })).rejects.toMatchObject({ code });
  });
});
