import { getContext, setContext } from 'svelte';
import type { Store } from './store.svelte';

const KEY = 'store';

export function provideStore(store: Store): void {
  setContext(KEY, store);
}

export function useStore(): Store {
  return getContext<Store>(KEY);
}
