/** A backend that tests steer, and a page whose visibility they set. */
import { render } from '@testing-library/svelte';
import type { Component } from 'svelte';
import type { ApiError } from '../src/api/ApiError';
import type { Call } from '../src/api/Call';
import type { Reply } from '../src/api/Reply';
import type { Snapshot } from '../src/api/Snapshot';
import type { Backend } from '../src/backend/backend';
import type { Scene } from '../src/backend/fake/scene-names';
import { initialSnapshot } from '../src/backend/fake/scenes';
import { withStanding } from '../src/backend/fake/standing';
import { emptyHistory } from '../src/series';
import { Store, type Visibility } from '../src/store.svelte';

type Answer = (call: Call) => Reply | Promise<Reply> | ApiError;

/** Records each call and answers as the test says; what it does not name gets a plain answer. */
export class ScriptedBackend implements Backend {
  calls: Call[] = [];
  answers: Partial<Record<Call['call'], Answer>> = {};

  async call(call: Call): Promise<Reply> {
    this.calls.push(call);
    const answer = await this.answers[call.call]?.(call);
    if (answer === undefined)
      return call.call === 'gauge_history' ? { reply: 'gauge_history', history: emptyHistory() } : { reply: 'done' };
    if ('code' in answer) throw answer;
    return answer;
  }

  of<K extends Call['call']>(kind: K): Extract<Call, { call: K }>[] {
    return this.calls.filter((call): call is Extract<Call, { call: K }> => call.call === kind);
  }
}

export class TestVisibility implements Visibility {
  #hidden = false;
  #listeners = new Set<() => void>();
  #touches = new Set<() => void>();

  hidden(): boolean {
    return this.#hidden;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  onTouch(listener: () => void): () => void {
    this.#touches.add(listener);
    return () => this.#touches.delete(listener);
  }

  touch(): void {
    for (const listener of this.#touches) listener();
  }

  set(hidden: boolean): void {
    this.#hidden = hidden;
    for (const listener of this.#listeners) listener();
  }
}

export const unreachable: ApiError = {
  code: 'unreachable',
  message: 'Pilothouse does not answer.',
  hint: null,
  retry: true,
};

export function snapshotOf(scene: Scene = 'ready', change: Partial<Snapshot> = {}): Snapshot {
  return { ...initialSnapshot(scene, Date.now()), ...change };
}

/** Renders a component with a store that holds a snapshot and does not pull. */
export function renderWith(
  component: Component<Record<string, never>>,
  snapshot: Snapshot,
  backend = new ScriptedBackend(),
): { store: Store; backend: ScriptedBackend } {
  const store = new Store(backend, new TestVisibility());
  store.snapshot = withStanding(snapshot);
  render(component, { context: new Map([['store', store]]) });
  return { store, backend };
}
