import type { Backend } from './backend/backend';
import { HttpBackend, takeToken } from './backend/http';

async function chooseBackend(): Promise<Backend> {
  if (__FAKE__) {
    const scene = new URLSearchParams(location.search).get('fake');
    if (scene !== null) {
      const [{ FakeBackend }, { sceneNames }] = await Promise.all([
        import('./backend/fake/backend'),
        import('./backend/fake/scene-names'),
      ]);
      return new FakeBackend(sceneNames.find((name) => name === scene) ?? 'ready');
    }
  }
  if ('__TAURI_INTERNALS__' in window) return new (await import('./backend/tauri')).TauriBackend();
  return new HttpBackend(takeToken(location, history, sessionStorage));
}

/** The first question is asked before the page is there that shows its answer: both take about as long. */
async function begin(target: HTMLElement): Promise<void> {
  const page = import('./start');
  const backend = await chooseBackend();
  const first = backend.call({ call: 'snapshot' });
  // Whoever takes it hears of its failure.
  first.catch(() => undefined);
  (await page).start(target, backend, first);
}

// A fresh address pasted into this tab changes only the fragment: start anew with its token.
addEventListener('hashchange', () => {
  if (location.hash.startsWith('#token=')) location.reload();
});

const target = document.getElementById('app');
if (target) void begin(target);
