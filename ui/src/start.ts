/** The page itself, once its first question is on its way. */
import './language';
import { mount } from 'svelte';
import './styles/tokens.css';
import './styles/base.css';
import './styles/components.css';
import type { Reply } from './api/Reply';
import App from './App.svelte';
import type { Backend } from './backend/backend';
import { documentVisibility, Store } from './store.svelte';

/** `first`: the answer to a question for the snapshot, however it ends. */
export function start(target: HTMLElement, backend: Backend, first: Promise<Reply>): void {
  mount(App, { target, props: { store: new Store(backend, documentVisibility, first) } });
}
