/** A scene as it is being written: what stands in the fields, what that means, and what differs from the one that is saved. */
import type { KvType } from '../api/KvType';
import type { Priority } from '../api/Priority';
import type { RoleSettings } from '../api/RoleSettings';
import type { SceneView } from '../api/SceneView';
import { sceneRules as allowed, scenes as words } from '../text';
import { differing, leadOf, MOST, priorities, wrongName, wrongRole, wrongSettings, type Wrongs } from './rules';

/** One row of the editor. Numbers are texts, so that what cannot be one stays in its field. */
export interface DraftRole {
  /** Tells rows apart while their names change. */
  id: number;
  role: string;
  server: string;
  model: string;
  context: string;
  parallel: string;
  kv: KvType | '';
  pinned: boolean;
  idle: string;
  priority: Priority;
}

export interface Draft {
  name: string;
  roles: DraftRole[];
}

export type Roles = Record<string, RoleSettings>;

let last = 0;

export function emptyRole(role: string): DraftRole {
  last += 1;
  const none = { server: '', model: '', context: '', parallel: '', kv: '' as const, pinned: false, idle: '' };
  return { id: last, role, ...none, priority: 'normal' };
}

/** Who leads comes first, then by priority and name. */
export function draftOf(name: string, roles: Readonly<Roles>): Draft {
  const left = Object.entries(roles).map(([role, settings]) => ({ role, ...settings }));
  const rows: DraftRole[] = [];
  while (left.length > 0) {
    const next = leadOf(left, () => true);
    const [one] = left.splice(
      left.findIndex(({ role }) => role === next),
      1,
    );
    if (one !== undefined) rows.push(rowOf(one.role, one));
  }
  return { name, roles: rows };
}

function rowOf(role: string, settings: RoleSettings): DraftRole {
  const { server, model, context, parallel, kv_type, pinned, priority, idle_s } = settings;
  return {
    ...emptyRole(role),
    ...{ server, model, pinned, priority, kv: kv_type ?? '' },
    context: context === undefined ? '' : String(context),
    parallel: parallel === undefined ? '' : String(parallel),
    idle: idle_s === undefined ? '' : idleText(idle_s),
  };
}

const UNITS: [number, string][] = [
  [86_400, 'd'],
  [3600, 'h'],
  [60, 'min'],
  [1, 's'],
];

/** Seconds in the largest unit that leaves no rest: "30 min", "90 s". */
export function idleText(seconds: number): string {
  const [size, unit] = UNITS.find(([size]) => seconds % size === 0) ?? [1, 's'];
  return `${seconds / size} ${unit}`;
}

/** Seconds; undefined: nothing was asked for; null: it cannot be read. A number alone is minutes. */
export function idleSeconds(text: string): number | undefined | null {
  const trimmed = text.trim().toLowerCase();
  if (trimmed === '' || trimmed === words.none) return undefined;
  const [, number, unit = 'm'] = /^(\d+(?:\.\d+)?)\s*(s|m|h|d)?[a-z]*$/.exec(trimmed) ?? [];
  if (number === undefined) return null;
  const size = { s: 1, m: 60, h: 3600, d: 86_400 }[unit] ?? 60;
  return Math.round(Number(number) * size);
}

/** A whole number; undefined: nothing stands there; NaN: what stands there is none. */
function numberOf(text: string): number | undefined {
  const plain = text.trim().replace(/[\s,_]/g, '');
  if (plain === '') return undefined;
  return /^\d+$/.test(plain) ? Number(plain) : NaN;
}

/** What the fields of a row mean. */
export function settingsOf(row: DraftRole): RoleSettings {
  const { server, model, pinned, priority, kv } = row;
  const [context, parallel] = [numberOf(row.context), numberOf(row.parallel)];
  const idle = idleSeconds(row.idle);
  return {
    ...{ server, model, pinned, priority },
    ...(context !== undefined && { context }),
    ...(parallel !== undefined && { parallel }),
    ...(kv !== '' && { kv_type: kv }),
    ...(idle !== undefined && { idle_s: idle ?? NaN }),
  };
}

/** The roles that a draft means, by name. */
export function rolesOf(draft: Draft): Roles {
  return Object.fromEntries(draft.roles.map((row) => [row.role, settingsOf(row)]));
}

/** What is wrong in a draft. */
export interface Mistakes {
  name: string | null;
  /** Of the roles as a whole. */
  roles: string | null;
  /** By the row's id. */
  rows: ReadonlyMap<number, Wrongs>;
}

/** `taken`: names of other scenes. */
export function mistakesOf(draft: Draft, taken: readonly string[] = []): Mistakes {
  const rows = new Map<number, Wrongs>();
  for (const [at, row] of draft.roles.entries()) {
    const before = draft.roles.slice(0, at);
    const settings = settingsOf(row);
    const wrongs = wrongSettings(settings);
    const wrong = wrongRole(row.role);
    if (wrong !== null) wrongs.role = wrong;
    else if (before.some((one) => one.role === row.role)) wrongs.role = allowed.roleTaken;
    const field = row.model === '' ? null : differing(settings, before.map(settingsOf));
    if (field !== null) wrongs[field] ??= allowed.differs;
    if (Object.keys(wrongs).length > 0) rows.set(row.id, wrongs);
  }
  const name = wrongName(draft.name) ?? (taken.includes(draft.name) ? allowed.nameTaken : null);
  return { name, roles: draft.roles.length > MOST ? allowed.most : null, rows };
}

export const areRolesSound = ({ roles, rows }: Mistakes): boolean => roles === null && rows.size === 0;

/** The fields of two rows that differ. */
export function changedFields(row: DraftRole, saved: DraftRole | undefined): (keyof DraftRole)[] {
  if (saved === undefined) return [];
  const [one, other] = [settingsOf(row), settingsOf(saved)];
  const pairs: [keyof DraftRole, unknown, unknown][] = [
    ['model', one.model, other.model],
    ['server', one.server, other.server],
    ['context', one.context, other.context],
    ['parallel', one.parallel, other.parallel],
    ['kv', one.kv_type, other.kv_type],
    ['pinned', one.pinned, other.pinned],
    ['idle', one.idle_s, other.idle_s],
    ['priority', one.priority, other.priority],
  ];
  return pairs.filter(([, a, b]) => !Object.is(a, b)).map(([field]) => field);
}

/** What differs from what is saved, in words: "model of critical", "without small". */
export function changesOf(draft: Draft, saved: Draft): string[] {
  const changes: string[] = draft.name === saved.name ? [] : [words.changes.name];
  for (const row of draft.roles) {
    const was = saved.roles.find((one) => one.role === row.role);
    if (was === undefined) changes.push(words.changes.added(row.role));
    for (const field of changedFields(row, was)) {
      // A model of another server is one change, not two.
      if (field === 'server' && row.model !== was?.model) continue;
      changes.push(words.changes.field(words.fields[field], row.role));
    }
  }
  const gone = saved.roles.filter((one) => !draft.roles.some((row) => row.role === one.role));
  return [...changes, ...gone.map((one) => words.changes.removed(one.role))];
}

/** A name that no scene has: "Hybrid 2". */
export function freeName(name: string, taken: readonly string[]): string {
  if (!taken.includes(name)) return name;
  for (let n = 2; ; n += 1) {
    const next = `${[...name].slice(0, 56).join('')} ${n}`;
    if (!taken.includes(next)) return next;
  }
}

/** A name that no role of the draft has: the usual ones first. */
export function freeRole(draft: Draft): string {
  const taken = draft.roles.map((row) => row.role);
  const usual = ['critical', 'background', 'small', 'embed'].find((role) => !taken.includes(role));
  if (usual !== undefined) return usual;
  for (let n = 1; ; n += 1) if (!taken.includes(`role-${n}`)) return `role-${n}`;
}

/** The role that `active` means in a draft. `answers`: whether its model answers prompts. */
export function leadOfDraft(draft: Draft, answers: (row: DraftRole) => boolean): string | null {
  return leadOf(draft.roles, (role) => draft.roles.some((row) => row.role === role && answers(row)));
}

/** Names with one put a place earlier or later; null: it stands there already. */
export function moved(names: readonly string[], name: string, by: number): string[] | null {
  const at = names.indexOf(name);
  const to = Math.min(Math.max(at + by, 0), names.length - 1);
  return at === -1 || to === at ? null : placed(names, name, to);
}

/** Names with one put at a place. */
export function placed(names: readonly string[], name: string, to: number): string[] {
  const others = names.filter((one) => one !== name);
  others.splice(to, 0, name);
  return others;
}

export const namesOf = (scenes: readonly SceneView[]): string[] => scenes.map((one) => one.name);
export { priorities };
