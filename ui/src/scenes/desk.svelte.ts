/** The scenes that somebody is at work on. What is not saved stays while one looks at other pages. */
import { SvelteMap, SvelteSet } from 'svelte/reactivity';
import type { SceneOffer } from '../api/SceneOffer';
import type { SceneView } from '../api/SceneView';
import { asApiError } from '../backend/backend';
import { isPinned } from '../roles';
import type { Store } from '../store.svelte';
import { scenes as words } from '../text';
import { changesOf, draftOf, freeName, namesOf, rolesOf, type Draft, type DraftRole } from './draft';
import { FREE_MEMORY, RESTORE } from './rules';
import { taking } from './plan';

/** A scene of the list: a saved one by its name, an unsaved one as `+1`. */
export type Key = string;
export const isNew = (key: Key): boolean => key.startsWith('+');
export const isBuiltIn = (key: Key): boolean => key === FREE_MEMORY || key === RESTORE;

export class SceneDesk {
  readonly #store: Store;
  readonly #drafts = new SvelteMap<Key, Draft>();
  /** Saved scenes as drafts: the same rows for as long as the same is saved, however many snapshots come. */
  readonly #asSaved = new Map<Key, { text: string; draft: Draft }>();
  /** Saved under a name of their own; they stay until the page shows that. */
  readonly #done = new SvelteSet<Key>();
  #last = 0;

  constructor(store: Store) {
    this.#store = store;
  }

  get #scenes(): SceneView[] {
    return this.#store.snapshot?.scenes ?? [];
  }

  saved(key: Key): SceneView | null {
    return this.#scenes.find((one) => one.name === key) ?? null;
  }

  /** The unsaved ones, in the order in which they were begun. */
  get added(): Key[] {
    return [...this.#drafts.keys()].filter((key) => this.saved(key) === null && !this.#done.has(key));
  }

  /** As it is saved. */
  savedDraft(key: Key): Draft | null {
    const saved = this.saved(key);
    if (saved === null) return null;
    const text = JSON.stringify(saved.roles);
    const known = this.#asSaved.get(key);
    if (known?.text === text) return known.draft;
    const draft = draftOf(saved.name, saved.roles);
    this.#asSaved.set(key, { text, draft });
    return draft;
  }

  /** As it stands in the editor; null: there is no such scene. */
  draft(key: Key): Draft | null {
    return this.#drafts.get(key) ?? this.savedDraft(key);
  }

  /** What is not saved of it, in words. */
  changes(key: Key): string[] {
    const [draft, saved] = [this.#drafts.get(key), this.savedDraft(key)];
    return draft === undefined || saved === null ? [] : changesOf(draft, saved);
  }

  /** Begins a new one. */
  add(draft: Draft): Key {
    const key = `+${++this.#last}`;
    this.#drafts.set(key, { ...draft, name: freeName(draft.name, this.#names()) });
    return key;
  }

  edit(key: Key, change: Partial<Draft>): void {
    const draft = this.draft(key);
    if (draft !== null) this.#drafts.set(key, { ...draft, ...change });
  }

  editRole(key: Key, id: number, change: Partial<DraftRole>): void {
    const roles = this.draft(key)?.roles.map((row) => (row.id === id ? { ...row, ...change } : row));
    if (roles !== undefined) this.edit(key, { roles });
  }

  /** Forgets what is not saved. */
  revert(key: Key): void {
    this.#drafts.delete(key);
  }

  /** What has become what is saved is no draft any more, unless it is the one that is shown. */
  tidy(shown: Key | null): void {
    for (const key of this.#drafts.keys()) {
      const isSaved = this.saved(key) !== null && this.changes(key).length === 0;
      if (isSaved || (this.#done.has(key) && key !== shown)) this.#drafts.delete(key);
    }
  }

  /** The names of the other scenes. */
  others(key: Key): string[] {
    const drafts = [...this.#drafts].filter(([one]) => one !== key && isNew(one) && !this.#done.has(one));
    return [...namesOf(this.#scenes).filter((name) => name !== key), ...drafts.map(([, one]) => one.name)];
  }

  #names(): string[] {
    return [...namesOf(this.#scenes), ...[...this.#drafts.values()].map((one) => one.name)];
  }

  /** Returns the key under which it is known from then on; null: it was refused. */
  async save(key: Key): Promise<Key | null> {
    const draft = this.draft(key);
    if (draft === null) return null;
    const { name } = draft;
    const renames = !isNew(key) && key !== name ? key : undefined;
    try {
      const roles = rolesOf(draft);
      await this.#store.call({ call: 'save_scene', name, roles, ...(renames !== undefined && { renames }) });
    } catch (error) {
      this.#store.acts.fail('scenes', asApiError(error));
      return null;
    }
    // Until the snapshot has it, it stands here.
    if (isNew(key)) this.#done.add(key);
    else this.#drafts.delete(key);
    this.#drafts.set(name, draft);
    return name;
  }

  /** Saves what is not saved, and applies it. */
  async apply(key: Key, offer: SceneOffer | null): Promise<Key | null> {
    if (isBuiltIn(key)) {
      await this.#store.acts.applyScene(key);
      return key;
    }
    const draft = this.draft(key);
    if (draft === null) return null;
    const needsSaving = isNew(key) || this.changes(key).length > 0;
    const name = needsSaving ? await this.save(key) : key;
    if (name === null) return null;
    const roles = offer === null ? undefined : taking(offer, rolesOf(draft));
    const unload = offer?.unload ?? null;
    const pinned = unload !== null && this.#store.snapshot !== null && isPinned(this.#store.snapshot, unload);
    void this.#store.acts.applyScene(name, roles, unload, pinned);
    return name;
  }

  async remove(name: string): Promise<boolean> {
    try {
      await this.#store.call({ call: 'delete_scene', name });
    } catch (error) {
      this.#store.acts.fail('scenes', asApiError(error));
      return false;
    }
    this.#drafts.delete(name);
    this.#store.acts.say('scenes', words.foot.deleted(name));
    return true;
  }

  async order(names: string[]): Promise<boolean> {
    try {
      await this.#store.call({ call: 'order_scenes', names });
      return true;
    } catch (error) {
      this.#store.acts.fail('scenes', asApiError(error));
      return false;
    }
  }

  /** What is in memory now, as a scene. */
  async saveNow(name: string): Promise<boolean> {
    try {
      await this.#store.call({ call: 'save_scene', name });
    } catch (error) {
      this.#store.acts.fail('scenes', asApiError(error));
      return false;
    }
    this.#store.acts.say('scenes', words.foot.saved(name));
    return true;
  }
}

const desks = new WeakMap<Store, SceneDesk>();

/** One desk for the life of a page. */
export function deskOf(store: Store): SceneDesk {
  const desk = desks.get(store) ?? new SceneDesk(store);
  desks.set(store, desk);
  return desk;
}
