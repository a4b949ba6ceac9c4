/** What a plan shows: when which server is busy, what each role lives through, and the memory before and after. */
import type { Ledger } from '../api/Ledger';
import type { ModelRef } from '../api/ModelRef';
import type { Pool } from '../api/Pool';
import type { SceneOffer } from '../api/SceneOffer';
import type { ScenePlan } from '../api/ScenePlan';
import type { Snapshot } from '../api/Snapshot';
import type { Tenant } from '../api/Tenant';
import { about, bytes } from '../format';
import { poolForModels, without, type Room } from '../memory';
import { modelId, modelTitle } from '../models';
import { scenes as words } from '../text';
import type { Roles } from './draft';

type Step = ScenePlan['steps'][number];
const isOf = (ref: ModelRef, step: Step) => step.model !== null && modelId(step.model) === modelId(ref);

/** A step on the axis, in seconds from the beginning. Steps come one after the other. */
export interface Segment {
  server: string;
  step: Step;
  from: number;
  /** Null: not known yet. */
  seconds: number | null;
  /** Takes out what another load brings back. */
  again: boolean;
}

export interface Lane {
  server: string;
  segments: Segment[];
}

/** The loads by server; `total`: null where the time of one is not known yet. */
export function lanesOf(plan: ScenePlan): { lanes: Lane[]; total: number | null } {
  const lanes = new Map<string, Segment[]>();
  let at = 0;
  let known = true;
  for (const step of plan.steps) {
    const seconds = step.seconds ?? (step.name === 'load' ? null : 0);
    if (step.model !== null && (step.name === 'load' || (seconds ?? 0) > 0)) {
      const again = plan.steps.some((one) => one.name === 'unload' && step.model !== null && isOf(step.model, one));
      const segment = { server: step.model.server, step, from: at, seconds, again };
      lanes.set(step.model.server, [...(lanes.get(step.model.server) ?? []), segment]);
    }
    if (seconds === null) known = false;
    else at += seconds;
  }
  const all = [...lanes].map(([server, segments]) => ({ server, segments }));
  return { lanes: all, total: known ? at : null };
}

/** Round seconds for the axis, at most so many. */
export function secondsOf(total: number, most = 5): number[] {
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800];
  const step = steps.find((one) => total / one <= most) ?? 3600;
  return Array.from({ length: Math.floor(total / step) + 1 }, (_, index) => Number((index * step).toFixed(1)));
}

/** What roles live through, in words. */
export interface Story {
  roles: string[];
  text: string;
}

export function storiesOf(plan: ScenePlan, roles: Readonly<Roles>, snapshot: Snapshot): Story[] {
  const stories: Story[] = [];
  const title = (ref: ModelRef) => modelTitle(snapshot.models, ref);
  const { steps, untouched } = plan;
  const commit = steps.findIndex((step) => step.name === 'commit');
  const until = (to: number, from = 0) =>
    steps
      .slice(from, to + 1)
      .reduce<number | null>(
        (all, step) =>
          all === null || (step.name === 'load' && step.seconds === null) ? null : all + (step.seconds ?? 0),
        0,
      );
  const say = (seconds: number | null) => (seconds === null ? null : about(seconds));
  for (const [role, { server, model }] of Object.entries(roles)) {
    const wanted = { server, model };
    if (untouched.includes(role)) continue;
    const load = steps.findIndex((step) => step.name === 'load' && isOf(wanted, step));
    if (load === -1) continue;
    const held = snapshot.roles.find((one) => one.role === role) ?? null;
    const before = held ?? leads(role, snapshot);
    const leaves = before === null ? -1 : steps.findIndex((step) => step.name === 'unload' && isOf(before.model, step));
    const waits = leaves !== -1 && leaves < commit;
    const text =
      before === null
        ? words.story.comes(title(wanted), say(until(load)))
        : waits
          ? words.story.waits(title(wanted), say(until(commit, leaves)))
          : words.story.answeredBy(title(before.model), title(wanted));
    stories.push({ roles: [role], text });
  }
  if (untouched.length > 0) stories.push({ roles: untouched, text: words.story.untouched(untouched.length) });
  for (const { role, model } of snapshot.roles) {
    if (roles[role] !== undefined) continue;
    const gone = steps.some((step) => step.name === 'unload' && isOf(model, step));
    stories.push({ roles: [role], text: gone ? words.story.ends(title(model)) : words.story.endsOnly });
  }
  return stories;
}

/** Where no role was in force: what answered under `active` goes on until the lead takes over. */
function leads(role: string, { active, roles }: Snapshot): { model: ModelRef } | null {
  if (active === null || roles.length > 0 || !['active', 'critical'].includes(role)) return null;
  return { model: { server: active.server, model: active.model } };
}

/** The models that leave for good. */
export function leaving(plan: ScenePlan): ModelRef[] {
  const gone = plan.steps.filter((step) => step.name === 'unload' && step.model !== null);
  const comes = (ref: ModelRef) => plan.steps.some((step) => step.name === 'load' && isOf(ref, step));
  return gone.flatMap((step) => (step.model !== null && !comes(step.model) ? [step.model] : []));
}

export interface Division {
  pool: Pool;
  room: Room;
}

/** The pool for models as it would be afterwards; null: not known. */
export function poolThen(plan: ScenePlan, ledger: Ledger, snapshot: Snapshot): Division | null {
  const pool = poolForModels(ledger);
  if (pool === undefined || plan.free_bytes === null) return null;
  const moved = plan.steps.flatMap((step) =>
    step.model !== null && (step.name === 'load' || step.name === 'unload') ? [step.model] : [],
  );
  const stays = without(pool, moved);
  const comes: Tenant[] = [];
  for (const { name, model, title, bytes } of plan.steps) {
    if (name !== 'load' || model === null) continue;
    if (bytes === null) return null;
    comes.push({
      ...{ kind: 'instance', certainty: 'estimated', bytes, ...model },
      ...{ title: title ?? modelTitle(snapshot.models, model), source: words.memory.reckoned },
    });
  }
  const isHeld = (one: Tenant) => one.kind === 'instance' || one.kind === 'mapped_files';
  const tenants = [...stays.tenants.filter(isHeld), ...comes, ...stays.tenants.filter((one) => !isHeld(one))];
  const used = tenants.reduce((sum, one) => sum + one.bytes, 0);
  const free = Math.max(0, pool.total_bytes - used);
  return {
    pool: { ...pool, tenants, used_bytes: used, free_bytes: free },
    room: { headroom: plan.free_bytes, reserve: ledger.reserve_bytes },
  };
}

/** The pool without what the scene would hold or let go of, for what does not fit into the rest. */
export function poolLeft(roles: Readonly<Roles>, ledger: Ledger, snapshot: Snapshot): Division | null {
  const pool = poolForModels(ledger);
  if (pool === undefined) return null;
  const { active } = snapshot;
  const held = [...snapshot.roles.map((one) => one.model), ...(active === null ? [] : [active])];
  const refs = [...held, ...Object.values(roles)].map(({ server, model }) => ({ server, model }));
  const rest = without(pool, refs);
  const freed = rest.free_bytes - pool.free_bytes;
  return { pool: rest, room: { headroom: ledger.headroom_bytes + freed, reserve: ledger.reserve_bytes } };
}

/** The roles as they are when an offer is taken. */
export function taking(offer: SceneOffer, roles: Readonly<Roles>): Roles {
  const { smaller } = offer;
  const changed = smaller === null ? undefined : roles[smaller.role];
  if (smaller !== null && changed !== undefined) {
    const context = smaller.context === null ? {} : { context: smaller.context };
    const kv = smaller.kv_type === null ? {} : { kv_type: smaller.kv_type };
    return { ...roles, [smaller.role]: { ...changed, ...context, ...kv } };
  }
  if (offer.without_role === null) return { ...roles };
  const gone = roles[offer.without_role];
  // Two roles with one model share its memory: it is free only without both.
  const stays = ([role, one]: [string, Roles[string]]) =>
    role !== offer.without_role && !(gone !== undefined && one.server === gone.server && one.model === gone.model);
  return Object.fromEntries(Object.entries(roles).filter(stays));
}

/** What a scene of the list does, in a line: "2 roles · 12.9 GB · about 9 s". */
export function summaryOf(roles: number, needed: number | null, seconds: number | null): string {
  const size = needed === null || roles === 0 ? null : bytes(needed);
  const time = seconds === null ? words.timeUnknown : seconds === 0 ? words.atOnce : about(seconds);
  return [words.roleCount(roles), size, roles === 0 ? null : time].filter((part) => part !== null).join(' · ');
}
