// A simulated Pilothouse: serves the built UI as `pilothouse serve` does (same door, same token check, a strict
// Content-Security-Policy) and answers calls from the simulated engine in ui/src/backend/fake/backend.ts. The token names the
// scene ("ready-…"), so that each test has an engine of its own.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createServer as createVite } from 'vite';

const root = fileURLToPath(new URL('../../', import.meta.url));
const built = join(root, 'ui/dist');
const types = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
};
const policy =
  "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";

const scenes = /^(ready|empty|trouble|first-start|gpu|gpus|mac|many|names|hybrid|offline)-/;
const COOKIE = 'pilothouse-simulated';

/** From the header, or from the cookie that was given for it. */
function tokenOf(request) {
  const given = request.headers.authorization?.replace(/^Bearer /, '') ?? '';
  if (given !== '') return given;
  const cookies = (request.headers.cookie ?? '').split(';').map((pair) => pair.trim().split('='));
  return cookies.find(([name]) => name === COOKIE)?.[1] ?? '';
}

/** Starts it on a free port. Returns its origin and the function that ends it. */
export async function startSimulated({ step = 120, dist = built } = {}) {
  const vite = await createVite({
    root: join(root, 'ui'),
    logLevel: 'error',
    server: { middlewareMode: true, ws: false, watch: null, hmr: false },
  });
  const { FakeBackend } = await vite.ssrLoadModule('/src/backend/fake/backend.ts');
  const engines = new Map();

  const server = createServer(async (request, response) => {
    try {
      if (request.url === '/api/session') return remember(request, response);
      if (request.url === '/api/call') return await answerCall(request, response);
      await serveFile(dist, request.url, response);
    } catch (error) {
      response.writeHead(500).end(String(error));
    }
  });

  /** Of its first asker on: a test may come before its page. */
  function engineOf(token) {
    const engine = engines.get(token) ?? { fake: new FakeBackend(scenes.exec(token)[1], step), calls: 0 };
    engines.set(token, engine);
    return engine;
  }

  /** Gives the cookie by which a browser is known again. */
  function remember(request, response) {
    const token = tokenOf(request);
    if (!scenes.test(token)) return send(response, 401, fault('unauthorized', 'The token is not known.'));
    const cookie = `${COOKIE}=${token}; Path=/; HttpOnly; SameSite=Strict`;
    response.writeHead(204, { 'set-cookie': cookie }).end();
  }

  async function answerCall(request, response) {
    const token = tokenOf(request);
    const scene = scenes.exec(token)?.[1];
    if (scene === undefined) return send(response, 401, fault('unauthorized', 'The token is not known.'));
    const engine = engineOf(token);
    engine.calls += 1;
    // The scene "offline" answers at first and then dies.
    if (scene === 'offline' && engine.calls > 3) return request.socket.destroy();
    let text = '';
    for await (const chunk of request) text += chunk;
    try {
      send(response, 200, await engine.fake.call(JSON.parse(text)));
    } catch (error) {
      if (error instanceof Error) throw error;
      send(response, 409, { schema: 1, error });
    }
  }

  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    /** The simulated engine behind a token. */
    engine: (token) => engineOf(token).fake,
    /** Work will stop by itself where the snapshot is like this: what only passes by would be missed on a busy machine. Look at
     * it in `held`, which lets it go on afterwards. */
    stopsAt(token, when) {
      const { fake } = engineOf(token);
      fake.pace.stops = () => when(fake.snapshot());
    },
    /** Does something while its work under way does not go on, so that what passes by can be looked at in peace. */
    async held(token, look) {
      const { pace } = engineOf(token).fake;
      pace.held = true;
      try {
        await look();
      } finally {
        pace.held = false;
        pace.stops = null;
      }
    },
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await vite.close();
    },
  };
}

function fault(code, message) {
  return { schema: 1, error: { code, message, hint: null, retry: false } };
}

function send(response, status, body) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

async function serveFile(dist, url, response) {
  const path = normalize(new URL(url, 'http://localhost').pathname);
  const file = join(dist, path === '/' ? 'index.html' : path);
  try {
    const content = await readFile(file);
    response.writeHead(200, {
      'content-type': types[extname(file)] ?? 'text/plain',
      'content-security-policy': policy,
    });
    response.end(content);
  } catch {
    response.writeHead(404).end();
  }
}
