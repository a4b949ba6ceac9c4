/** Pure questions about the roles in force and about what models are in memory for. */
import type { Instance } from './api/Instance';
import type { ModelRef } from './api/ModelRef';
import type { RoleView } from './api/RoleView';
import type { Snapshot } from './api/Snapshot';
import { count } from './format';
import { roles as words, type Tone } from './text';

const is = (one: ModelRef, other: ModelRef) => one.server === other.server && one.model === other.model;

export function rolesOfModel(snapshot: Snapshot, ref: ModelRef): RoleView[] {
  return snapshot.roles.filter((role) => is(role.model, ref));
}

/** Copies of it that nobody needs beside another one; as the engine tells which (`residency::extra_copies`). */
export function extraCopies({ instances, active, roles, on_request }: Snapshot, ref: ModelRef): Instance[] {
  const stands = [
    ...(active === null ? [] : [{ server: active.server, instance: active.instance }]),
    ...roles.map((one) => ({ server: one.model.server, instance: one.instance })),
    ...on_request.map((one) => ({ server: one.model.server, instance: one.instance })),
  ];
  const isUsed = (one: Instance) => stands.some((it) => it.server === one.server && it.instance === one.id);
  const copies = instances
    .filter((one) => is(one, ref))
    .sort((a, b) => Number(isUsed(b)) - Number(isUsed(a)) || a.id.length - b.id.length || (a.id < b.id ? -1 : 1));
  return copies.slice(1).filter((one) => !isUsed(one));
}

export function isPinned(snapshot: Snapshot, ref: ModelRef): boolean {
  return snapshot.pins.some((pin) => is(pin, ref));
}

/** What a role is doing, in a word. */
export function stateOfRole(role: RoleView, snapshot: Snapshot): { tone: Tone; word: string; more: string | null } {
  if (role.waits) return { tone: 'waiting', word: words.waits, more: null };
  if (role.absent !== null) return { tone: 'attention', word: role.absent, more: role.absent };
  if (role.instance === null) return { tone: 'idle', word: words.awayShort, more: words.away };
  const { standing, active } = snapshot;
  const isActive = active !== null && is({ server: active.server, model: active.model }, role.model);
  // What answers under “active” is told more closely.
  return isActive && role.leads
    ? { tone: standing.tone, word: standing.word, more: standing.reason }
    : { tone: 'good', word: words.ready, more: null };
}

/** Shown where there are more than the one that `active` follows: that one stands in the head. */
export function rolesToShow(snapshot: Snapshot): RoleView[] {
  const { roles, active } = snapshot;
  const only = roles.length === 1 ? roles[0] : undefined;
  if (only !== undefined && active !== null && is({ server: active.server, model: active.model }, only.model))
    return [];
  return [...roles].sort((a, b) => Number(b.leads) - Number(a.leads));
}

/** When a model that was loaded on request leaves, in words; empty: it stays; null: it was not. `now`: the engine's clock. */
export function leavesIn(snapshot: Snapshot, ref: ModelRef, now: number): string | null {
  const found = snapshot.on_request.find((one) => is(one.model, ref));
  if (found === undefined) return null;
  if (found.idle_s === 0) return '';
  const left = (Date.parse(found.last_used_at) + found.idle_s * 1000 - now) / 1000;
  if (left < 60) return words.leavesSoon;
  const minutes = count(Math.round(left / 60), 'min', 'min');
  return words.leavesIn(left < 5400 ? minutes : count(Math.round(left / 3600), 'h', 'h'));
}

/** The same as a whole: "on request, leaves in 14 min". */
export function onRequestWords(snapshot: Snapshot, ref: ModelRef, now: number): string | null {
  const leaves = leavesIn(snapshot, ref, now);
  return leaves === null ? null : [words.onRequest, leaves].filter((part) => part !== '').join(', ');
}
