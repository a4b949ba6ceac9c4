import { beforeEach, describe, expect, it, vi } from 'vitest';
import { HttpBackend, takeToken } from '../src/backend/http';

beforeEach(() => {
  sessionStorage.clear();
  history.replaceState(null, '', '/');
});

describe('the token', () => {
  it('is taken from the address once, kept for the tab and removed from the address', () => {
    history.replaceState(null, '', '/?a=b#token=secret');
    expect(takeToken(location, history, sessionStorage)).toBe('secret');
    expect(location.href).not.toContain('secret');
    expect(location.search).toBe('?a=b');
    expect(takeToken(location, history, sessionStorage)).toBe('secret');
  });

  it('of a fresh address replaces the kept one', () => {
    sessionStorage.setItem('pilothouse.token', 'old');
    history.replaceState(null, '', '/#token=new');
    expect(takeToken(location, history, sessionStorage)).toBe('new');
    expect(sessionStorage.getItem('pilothouse.token')).toBe('new');
  });

  it('leaves the address of a page alone', () => {
    sessionStorage.setItem('pilothouse.token', 'kept');
    history.replaceState(null, '', '/#/history');
    expect(takeToken(location, history, sessionStorage)).toBe('kept');
    expect(location.hash).toBe('#/history');
  });

  it('that was never given is null', () => {
    expect(takeToken(location, history, sessionStorage)).toBeNull();
  });
});

describe('calls over HTTP', () => {
  const respond = (status: number, body: string) => vi.fn<typeof fetch>(async () => new Response(body, { status }));

  it('carry the call as the body and the token as bearer', async () => {
    const fetcher = respond(200, '{"reply":"unchanged","revision":3}');
    const reply = await new HttpBackend('secret', fetcher).call({ call: 'snapshot', known: 3 });
    expect(reply).toEqual({ reply: 'unchanged', revision: 3 });
    const [url, init] = fetcher.mock.calls[0] ?? [];
    expect(url).toBe('/api/call');
    expect(init?.method).toBe('POST');
    expect(init?.body).toBe('{"call":"snapshot","known":3}');
    expect(new Headers(init?.headers).get('authorization')).toBe('Bearer secret');
  });

  it('reject with the error in the body', async () => {
    const error = { code: 'busy', message: 'A benchmark is under way.', hint: null, retry: true };
    const backend = new HttpBackend('secret', respond(409, JSON.stringify({ schema: 1, error })));
    await expect(backend.call({ call: 'bench' })).rejects.toEqual(error);
  });

  it('without a token ask nothing', async () => {
    const fetcher = respond(200, '{}');
    await expect(new HttpBackend(null, fetcher).call({ call: 'refresh' })).rejects.toMatchObject({
      code: 'unauthorized',
    });
    expect(fetcher).not.toHaveBeenCalled();
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
