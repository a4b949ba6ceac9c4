/** Pure questions about apps and the page Connect: what its address says, how an app stands, what a difference shows. */
import type { AppGroup } from './api/AppGroup';
import type { AppView } from './api/AppView';
import type { Call } from './api/Call';
import type { Snapshot } from './api/Snapshot';
import { moment } from './format';
import type { Query } from './route.svelte';
import { connect as words, type Tone } from './text';

/** The names that are chosen for an app. Empty: the default. */
export interface Names {
  model: string;
  small: string;
}

export const namesOf = (query: Query): Names => ({ model: query.model ?? '', small: query.small ?? '' });

export function connectQueryOf(names: Names): Query {
  const query: Query = {};
  for (const key of ['model', 'small'] as const) if (names[key] !== '') query[key] = names[key];
  return query;
}

/** The part of a call that says which names are wanted. */
export const wantedOf = (names: Names): { model?: string; small?: string } => connectQueryOf(names);

/** The part of a call that names a key. It stands nowhere else: not in the address of the page, and in nothing that is kept. */
export const keyOf = (key: string): { key?: string } => (key.trim() === '' ? {} : { key: key.trim() });

export function connectCallOf(app: string, names: Names, key = ''): Extract<Call, { call: 'connect' }> {
  return { call: 'connect', app, ...wantedOf(names), ...keyOf(key) };
}

/** A name for a client key that no other has, in whatever case: the app's title, else with a number. */
export function freeKeyName(title: string, taken: string[]): string {
  const all = new Set(taken.map((one) => one.toLocaleLowerCase()));
  let name = title;
  for (let n = 2; all.has(name.toLocaleLowerCase()); n += 1) name = `${title} ${n}`;
  return name;
}

/** How an app stands, in the command line's words. */
export function standingOf(app: AppView, now: number): { tone: Tone; word: string } {
  const { state, written_at } = app;
  if (state === null) return { tone: 'idle', word: words.states.lines };
  if (state === 'refused') return { tone: 'attention', word: words.states.refused };
  if (state === 'set_up')
    return { tone: 'good', word: written_at === null ? words.states.setUp : words.setUpAt(moment(written_at, now)) };
  if (state === 'differs' && written_at !== null) return { tone: 'attention', word: words.states.otherwise };
  return { tone: 'idle', word: words.states.notSetUp };
}

export const groupOrder: readonly AppGroup[] = ['program', 'code'];

/** The apps that a filter lets through, by group; groups without any are left out. Every word has to occur. */
export function appGroups(apps: AppView[], filter: string): { group: AppGroup; apps: AppView[] }[] {
  const parts = filter.toLocaleLowerCase().split(/\s+/);
  const found = apps.filter((app) => {
    const text = [app.title, app.id, words.dialects[app.dialect], app.file].join(' ').toLocaleLowerCase();
    return parts.every((part) => text.includes(part));
  });
  return groupOrder
    .map((group) => ({ group, apps: found.filter((app) => app.group === group) }))
    .filter((one) => one.apps.length > 0);
}

/** Names that an app can ask by: roles, then models as `server/name`. What is chosen is among them. */
export function namesToChoose(snapshot: Snapshot, chosen: string): { roles: string[]; models: string[] } {
  const roles = [...new Set(['active', ...snapshot.roles.map((one) => one.role)])];
  const models = snapshot.models.filter((one) => one.purpose === 'llm' && !one.damaged).map((one) => one.id);
  const known = roles.includes(chosen) || models.includes(chosen) || chosen === '';
  return { roles: known ? roles : [...roles, chosen], models };
}

export interface DiffLine {
  kind: 'added' | 'removed' | 'same' | 'gap';
  text: string;
}

/** The lines of a unified difference without its head, which names the file; a gap is where lines are left out. */
export function diffLines(diff: string): DiffLine[] {
  const lines: DiffLine[] = [];
  let inside = false;
  for (const line of diff.replace(/\n$/, '').split('\n')) {
    if (line.startsWith('@@')) {
      if (inside || !/^@@ -[01](,\d+)? /.test(line)) lines.push({ kind: 'gap', text: '' });
      inside = true;
    } else if (inside && !line.startsWith('\\')) {
      const kind = line.startsWith('+') ? 'added' : line.startsWith('-') ? 'removed' : 'same';
      lines.push({ kind, text: line.slice(1) });
    }
  }
  return lines;
}
