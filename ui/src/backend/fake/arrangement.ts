/** What a set of roles means for the simulated memory: the rules of the engine's `domain::residency::arrangement` and `domain::scene`,
 * in small. */
import type { ApiError } from '../../api/ApiError';
import type { LoadSettings } from '../../api/LoadSettings';
import type { ModelRef } from '../../api/ModelRef';
import type { RoleSettings } from '../../api/RoleSettings';
import type { SceneOffer } from '../../api/SceneOffer';
import type { ScenePlan } from '../../api/ScenePlan';
import type { ScenePlanStep } from '../../api/ScenePlanStep';
import type { SceneSettings } from '../../api/SceneSettings';
import type { SceneView } from '../../api/SceneView';
import type { ServerView } from '../../api/ServerView';
import type { Snapshot } from '../../api/Snapshot';
import { fault } from './fault';
import { fitOf } from './memory';
import type { Scene } from './scene-names';
import { smallerOffers } from './smaller';

export type Roles = Record<string, RoleSettings>;
export const idOf = (ref: { server: string; model: string }): string => `${ref.server}/${ref.model}`;
const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(2)} GB`;

/** What is planned by. */
export interface Known {
  snapshot: Snapshot;
  scene: Scene;
  /** With what each model was loaded, by id. */
  loadedWith: ReadonlyMap<string, LoadSettings>;
  /** Seconds; null: nobody has timed it. */
  loadTime: (model: ModelRef) => number | null;
}

interface Piece {
  model: ModelRef;
  with: LoadSettings;
  bytes: number | null;
  inMemory: 'no' | 'yes' | 'otherwise';
  roles: string[];
}

interface Leaver {
  model: ModelRef;
  bytes: number;
}

export function withOf({ context, parallel, kv_type }: RoleSettings): LoadSettings {
  return {
    ...(context !== undefined && { context }),
    ...(parallel !== undefined && { parallel }),
    ...(kv_type !== undefined && { kv_type }),
  };
}

/** What is asked for is asked for; what is not is as it is. */
function isAsWanted(wanted: LoadSettings, has: LoadSettings): boolean {
  return (Object.keys(wanted) as (keyof LoadSettings)[]).every((key) => wanted[key] === has[key]);
}

export function titleOf(snapshot: Snapshot, ref: ModelRef): string {
  return snapshot.models.find((one) => one.id === idOf(ref))?.title ?? ref.model;
}

const serverOf = (snapshot: Snapshot, id: string) => snapshot.servers.find((one) => one.id === id)?.title ?? id;

export function holds(snapshot: Snapshot, ref: ModelRef): number | null {
  return snapshot.instances.find((one) => idOf(one) === idOf(ref))?.memory_bytes ?? null;
}

function need({ snapshot, scene }: Known, ref: ModelRef, wish: LoadSettings): number | null {
  const model = snapshot.models.find((one) => one.id === idOf(ref));
  if (model === undefined || model.size_bytes === null) return null;
  const { kv_type: kv, ...rest } = wish;
  return fitOf({ call: 'fit', models: [model.id], ...rest, ...(kv && { kv }) }, scene, snapshot).needed_bytes;
}

function piecesOf(known: Known, roles: Roles): Piece[] {
  const pieces = new Map<string, Piece>();
  for (const [role, settings] of Object.entries(roles).sort(([a], [b]) => (a < b ? -1 : 1))) {
    const model = { server: settings.server, model: settings.model };
    const piece = pieces.get(idOf(model));
    if (piece !== undefined) {
      piece.roles.push(role);
      continue;
    }
    const wish = withOf(settings);
    const there = holds(known.snapshot, model) !== null;
    const has = known.loadedWith.get(idOf(model)) ?? {};
    const inMemory = !there ? 'no' : isAsWanted(wish, has) ? 'yes' : 'otherwise';
    const bytes = inMemory === 'yes' ? holds(known.snapshot, model) : need(known, model, wish);
    pieces.set(idOf(model), { model, with: wish, bytes, inMemory, roles: [role] });
  }
  return [...pieces.values()];
}

/** What is held for the roles in force and under `active`. */
export function heldModels({ roles, active }: Snapshot): ModelRef[] {
  const all = [...roles.map((role) => role.model), ...(active ? [{ server: active.server, model: active.model }] : [])];
  return [...new Map(all.map((one) => [idOf(one), one])).values()];
}

/** Throws as the engine does where a role's model is not there. */
export function checkListed({ snapshot }: Known, roles: Roles): void {
  for (const [role, { server, model }] of Object.entries(roles)) {
    const title = serverOf(snapshot, server);
    const listed = snapshot.models.find((one) => one.id === idOf({ server, model }));
    if (listed === undefined)
      throw fault('not_found', `${role}: ${title} has no model ${model} now.`, 'Choose one that it has, or start it.');
    if (listed.damaged) throw fault('load_failed', `${role}: ${listed.title} cannot be loaded: ${listed.damaged}.`);
  }
}

/** Throws where a server does not run, or cannot load as a role wants. */
export function checkServers({ snapshot }: Known, roles: Roles): void {
  for (const [role, settings] of Object.entries(roles)) {
    const server = snapshot.servers.find((one) => one.id === settings.server);
    if (server === undefined) continue;
    if (server.state !== 'ready' && server.state !== 'degraded') {
      const text = `${server.title} does not run, so ${role} cannot be loaded. Nothing was changed.`;
      throw fault('not_running', text, `Start ${server.title} first.`);
    }
    if (!canLoadWith(server, settings)) {
      const text = `${server.title} cannot load a model with a KV type of its own (${role}). Nothing was changed.`;
      throw fault('unsupported', text, 'Leave KV type as its server loads it.');
    }
  }
}

const canLoadWith = ({ kind }: ServerView, { kv_type }: LoadSettings) =>
  kv_type === undefined || kind === 'llama-server';

/** What applying roles would do. */
export function planOf(known: Known, roles: Roles, name: string): ScenePlan {
  checkListed(known, roles);
  const { snapshot } = known;
  const pieces = piecesOf(known, roles);
  const loads = pieces.filter((one) => one.inMemory !== 'yes');
  const wanted = new Set(pieces.map((one) => idOf(one.model)));
  const leaver = (model: ModelRef): Leaver => ({ model, bytes: holds(snapshot, model) ?? 0 });
  const leaves = heldModels(snapshot)
    .filter((model) => !wanted.has(idOf(model)) && holds(snapshot, model) !== null)
    .map(leaver)
    .sort((a, b) => b.bytes - a.bytes);
  const leaving = new Set(leaves.map((one) => idOf(one.model)));
  const isPinned = (ref: ModelRef) => snapshot.pins.some((pin) => idOf(pin) === idOf(ref));
  const spare = snapshot.on_request
    .map((one) => leaver(one.model))
    .filter((one) => !wanted.has(idOf(one.model)) && !isPinned(one.model) && !leaving.has(idOf(one.model)));
  const again = loads.filter((one) => one.inMemory === 'otherwise').map((one) => leaver(one.model));
  const needed = sum(loads.map((one) => one.bytes));
  let room = (snapshot.ledger?.headroom_bytes ?? 0) + again.reduce((all, one) => all + one.bytes, 0);
  const first = [...again];
  const later = [...leaves];
  const evicted: Leaver[] = [];
  if (needed !== null) {
    const make = (from: Leaver[], into: Leaver[]) => {
      const one = from.shift();
      if (one === undefined) return false;
      room += one.bytes;
      into.push(one);
      return true;
    };
    while (needed > room && (make(later, first) || make(spare, evicted)));
  }
  const role_bytes = Object.fromEntries(pieces.flatMap((one) => one.roles.map((role) => [role, one.bytes])));
  const whole = { role_bytes, needed_bytes: sum(pieces.map((one) => one.bytes)) };
  if (needed !== null && needed > room) {
    const others = snapshot.instances.filter(
      (one) => !wanted.has(idOf(one)) && !leaving.has(idOf(one)) && !evicted.some((e) => idOf(e.model) === idOf(one)),
    );
    return {
      ...{ ...whole, fits: false, steps: [], free_bytes: null, takes_s: null, evicted: [], untouched: [] },
      refusal: tooMuch(name, needed, room),
      shortfall_bytes: needed - room,
      offers: [
        ...smallerOf(known, roles, loads, needed - room),
        ...offersOf(snapshot, loads, others.map(leaver), needed - room),
      ],
    };
  }
  const goes = [...first, ...evicted];
  const step = (name: string, ref: ModelRef | null, bytes: number | null, seconds: number | null): ScenePlanStep => {
    const model = ref === null ? null : { server: ref.server, model: ref.model };
    return { name, model, title: model === null ? null : titleOf(snapshot, model), bytes, seconds };
  };
  const unloads = (from: Leaver[]) => from.map((one) => step('unload', one.model, one.bytes, null));
  const steps = [
    ...unloads(goes),
    ...pieces.flatMap((one) => [
      ...(one.inMemory === 'yes' ? [] : [step('load', one.model, one.bytes, known.loadTime(one.model))]),
      step('prove', one.model, null, null),
    ]),
    step('commit', null, null, null),
    ...unloads(later),
  ];
  const rest = later.reduce((all, one) => all + one.bytes, 0);
  return {
    ...whole,
    fits: needed === null ? null : true,
    refusal: null,
    shortfall_bytes: null,
    offers: [],
    steps,
    free_bytes: needed === null ? null : room + rest - needed,
    takes_s: sum(loads.map((one) => known.loadTime(one.model))),
    evicted: [...goes, ...later].map((one) => one.model).filter((model) => !wanted.has(idOf(model))),
    untouched: pieces.filter((one) => one.inMemory === 'yes').flatMap((one) => one.roles),
  };
}

function sum(values: (number | null)[]): number | null {
  return values.reduce((all, one) => (all === null || one === null ? null : all + one), 0);
}

function tooMuch(name: string, needed: number, free: number): ApiError {
  const text = `${name} needs ${gigabytes(needed - free)} more than fits: ${gigabytes(needed)} to load, ${gigabytes(free)} free once what leaves has left.`;
  const hint = 'Leave a role out, choose a smaller model or context, or unload what others have loaded.';
  return fault('does_not_fit', text, hint);
}

/** A model that two roles share is loaded as one of them says, and one that stays frees nothing. */
function smallerOf(known: Known, roles: Roles, loads: Piece[], short: number): SceneOffer[] {
  const alone = loads.flatMap(({ roles: [role, ...more], model, with: has, bytes }) => {
    const settings = role === undefined ? undefined : roles[role];
    if (role === undefined || settings === undefined || more.length > 0 || bytes === null) return [];
    const server = known.snapshot.servers.find((one) => one.id === model.server);
    const reckon = (wish: LoadSettings) =>
      server !== undefined && canLoadWith(server, wish) ? need(known, model, wish) : null;
    return [{ role, settings, has, bytes, reckon }];
  });
  return smallerOffers(alone, short);
}

function offersOf(snapshot: Snapshot, loads: Piece[], others: Leaver[], short: number): SceneOffer[] {
  // Two roles with one model: leaving one of them out frees nothing.
  const roles = loads.flatMap(({ roles: [role, ...more], bytes }) =>
    bytes === null || role === undefined || more.length > 0 ? [] : [offer(`Without ${role}`, role, null, bytes)],
  );
  const models = others.map((one) => offer(`Unload ${titleOf(snapshot, one.model)} first`, null, one.model, one.bytes));
  const all = [...roles, ...models].map((one) => ({ ...one, enough: one.frees_bytes >= short }));
  return all.sort((a, b) => Number(b.enough) - Number(a.enough));
}

function offer(what: string, without_role: string | null, unload: ModelRef | null, frees_bytes: number): SceneOffer {
  return { what, without_role, unload, smaller: null, frees_bytes, enough: false };
}

/** The scenes of the settings as views see them, in their order. */
export function sceneViews(
  known: Known,
  scenes: Readonly<Record<string, SceneSettings>>,
  inForce: string | null,
): SceneView[] {
  const place = (name: string) => scenes[name]?.place ?? Infinity;
  const names = Object.keys(scenes).sort((a, b) => place(a) - place(b) || a.localeCompare(b));
  return names.map((name) => viewOf(known, name, scenes[name]?.roles ?? {}, inForce === name));
}

function viewOf(known: Known, name: string, roles: Roles, in_force: boolean): SceneView {
  const { snapshot } = known;
  const pieces = piecesOf(known, roles);
  const changed = in_force && differs(roles, snapshot);
  const base = { name, in_force, changed, roles, needed_bytes: sum(pieces.map((one) => one.bytes)) };
  const takes_s = sum(
    pieces.filter((one) => one.inMemory === 'no').map((one) => (one.bytes === null ? null : known.loadTime(one.model))),
  );
  const unlisted = Object.entries(roles).find(([, one]) => !snapshot.models.some((model) => model.id === idOf(one)));
  if (unlisted !== undefined) {
    const [role, { server, model }] = unlisted;
    return { ...base, takes_s: null, fits: null, fits_reason: `${role}: ${server} has no model ${model} now` };
  }
  const loads = sum(pieces.filter((one) => one.inMemory === 'no').map((one) => one.bytes));
  if (loads === null) return { ...base, takes_s, fits: null, fits_reason: 'what a model takes is not known yet' };
  if (loads === 0) return { ...base, takes_s, fits: true, fits_reason: 'all of it is in memory' };
  const wanted = new Set(pieces.map((one) => idOf(one.model)));
  const back = heldModels(snapshot).filter((one) => !wanted.has(idOf(one)));
  const free = back.reduce((all, one) => all + (holds(snapshot, one) ?? 0), snapshot.ledger?.headroom_bytes ?? 0);
  if (loads > free) return { ...base, takes_s, fits: false, fits_reason: `${gigabytes(loads - free)} more than fits` };
  return { ...base, takes_s, fits: true, fits_reason: `loads ${gigabytes(loads)}, ${gigabytes(free)} free` };
}

function differs(roles: Roles, { roles: held }: Snapshot): boolean {
  const told = (role: string, one: RoleSettings | Snapshot['roles'][number]) => {
    const isView = 'with' in one;
    const model = isView ? one.model : { server: one.server, model: one.model };
    const { context, parallel, kv_type } = isView ? one.with : one;
    return JSON.stringify([
      role,
      idOf(model),
      context,
      parallel,
      kv_type,
      one.pinned,
      one.priority,
      one.idle_s ?? null,
    ]);
  };
  const wanted = Object.entries(roles).map(([role, one]) => told(role, one));
  const there = held.map((one) => told(one.role, one));
  return wanted.length !== there.length || wanted.some((one) => !there.includes(one));
}
