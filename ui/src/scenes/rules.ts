/** What a scene, its roles and other names may be: the engine's own rules (its `domain::scene` and `domain::settings::check`), so
 * that a mistake is said at its field while it is typed. The engine checks again. */
import type { KvType } from '../api/KvType';
import type { ModelRef } from '../api/ModelRef';
import type { Priority } from '../api/Priority';
import type { RoleSettings } from '../api/RoleSettings';
import { sceneRules as allowed } from '../text';

export const kvTypes = ['f32', 'f16', 'q8_0', 'q5_1', 'q4_0'] as const satisfies readonly KvType[];
export const priorities = ['critical', 'normal', 'background'] as const satisfies readonly Priority[];
/** The built-in scenes. */
export const FREE_MEMORY = 'Free the memory';
export const RESTORE = 'Restore';
/** So many scenes, and roles of one scene, at most. */
export const MOST = 64;

const builtIns = [FREE_MEMORY, RESTORE].map((name) => name.toLowerCase());
const CONTROL = /\p{Cc}/u;
const lengthOf = (text: string) => [...text].length;
const isLine = (text: string) => text.trim() !== '' && !CONTROL.test(text);
const isWithin = (value: number, least: number, most: number) =>
  Number.isInteger(value) && value >= least && value <= most;

/** What is wrong with a name for a scene; null: nothing. */
export function wrongName(name: string): string | null {
  const sound = name !== '' && name.trim() === name && lengthOf(name) <= 60 && !CONTROL.test(name);
  return sound && !builtIns.includes(name.toLowerCase()) ? null : allowed.name;
}

/** What is wrong with the name of a role. Programs write it as the name of a model. */
export function wrongRole(role: string): string | null {
  return /^[a-z0-9][a-z0-9._-]{0,31}$/.test(role) ? null : allowed.role;
}

/** What is wrong with another name for a role or a model. */
export function wrongAlias(alias: string): string | null {
  const length = lengthOf(alias);
  const sound = length >= 1 && length <= 120 && alias.trim() === alias && !CONTROL.test(alias) && alias !== 'active';
  return sound ? null : allowed.alias;
}

/** What is wrong with what an alias stands for. */
export function wrongTarget(to: string, alias: string): string | null {
  return isLine(to) && to !== alias ? null : allowed.target;
}

export type RoleField = 'role' | 'server' | 'model' | 'context' | 'parallel' | 'kv_type' | 'idle_s' | 'priority';
/** What is wrong, by field. */
export type Wrongs = Partial<Record<RoleField, string>>;

/** What is wrong with the settings of one role by itself. */
export function wrongSettings(role: RoleSettings): Wrongs {
  const wrongs: Wrongs = {};
  if (!isLine(role.server)) wrongs.server = allowed.server;
  if (!isLine(role.model)) wrongs.model = allowed.model;
  if (role.context !== undefined && !isWithin(role.context, 1, 16_777_216)) wrongs.context = allowed.context;
  if (role.parallel !== undefined && !isWithin(role.parallel, 1, 64)) wrongs.parallel = allowed.parallel;
  if (role.idle_s !== undefined && !isWithin(role.idle_s, 1, 604_800)) wrongs.idle_s = allowed.idle;
  return wrongs;
}

const same = (one: ModelRef, other: ModelRef) => one.server === other.server && one.model === other.model;

/** In which field a role wants its model otherwise than an earlier role with the same model, which is in memory once; null: in none. */
export function differing(role: RoleSettings, earlier: readonly RoleSettings[]): RoleField | null {
  const other = earlier.find((one) => same(one, role));
  if (other === undefined) return null;
  return (['context', 'parallel', 'kv_type'] as const).find((field) => role[field] !== other[field]) ?? null;
}

/** The first mistake of a scene with the key of the settings file that it stands at; null: it has none. */
export function wrongScene(
  name: string,
  roles: Readonly<Record<string, RoleSettings>>,
): { key: string; allowed: string } | null {
  const ofName = wrongName(name);
  if (ofName !== null) return { key: `scenes.${name}`, allowed: ofName };
  const entries = Object.entries(roles).sort(([a], [b]) => (a < b ? -1 : 1));
  if (entries.length > MOST) return { key: `scenes.${name}.roles`, allowed: allowed.most };
  for (const [role, settings] of entries) {
    const key = `scenes.${name}.roles.${role}`;
    const ofRole = wrongRole(role);
    if (ofRole !== null) return { key, allowed: ofRole };
    const [field, wrong] = Object.entries(wrongSettings(settings))[0] ?? [];
    if (field !== undefined && wrong !== undefined) return { key: `${key}.${field}`, allowed: wrong };
  }
  for (const [at, [role, settings]] of entries.entries()) {
    const earlier = entries.slice(0, at).map(([, one]) => one);
    const field = differing(settings, earlier);
    if (field !== null) return { key: `scenes.${name}.roles.${role}.${field}`, allowed: allowed.differs };
  }
  return null;
}

/** The role that `active` means: the one of that name, else `critical`, else the first by priority and name, of those whose model
 * answers prompts. */
export function leadOf(
  roles: readonly { role: string; priority: Priority }[],
  canLead: (role: string) => boolean,
): string | null {
  const rank = (role: string) => (role === 'active' ? 0 : role === 'critical' ? 1 : 2);
  const able = roles.filter((one) => canLead(one.role));
  able.sort(
    (a, b) =>
      rank(a.role) - rank(b.role) ||
      priorities.indexOf(a.priority) - priorities.indexOf(b.priority) ||
      (a.role < b.role ? -1 : 1),
  );
  return able[0]?.role ?? null;
}
