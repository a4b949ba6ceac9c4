import './language';
import { mount } from 'svelte';
import 'uplot/dist/uPlot.min.css';
import './styles/tokens.css';
import './styles/base.css';
import './styles/components.css';
import App from './App.svelte';
import type { Backend } from './backend/backend';
import { HttpBackend, takeToken } from './backend/http';
import { TauriBackend } from './backend/tauri';
import { Store } from './store.svelte';

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
  if ('__TAURI_INTERNALS__' in window) return new TauriBackend();
  return new HttpBackend(takeToken(location, history, sessionStorage));
}

async function start(target: HTMLElement): Promise<void> {
  const store = new Store(await chooseBackend());
  mount(App, { target, props: { store } });
}

// A fresh address pasted into this tab changes only the fragment: start anew with its token.
addEventListener('hashchange', () => {
  if (location.hash.startsWith('#token=')) location.reload();
});

const target = document.getElementById('app');
if (target) void start(target);
