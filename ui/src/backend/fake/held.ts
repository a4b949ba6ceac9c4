/** What the simulated engine holds, said in other ways: as roles of a scene, as views, as instances. */
import type { LoadSettings } from '../../api/LoadSettings';
import type { ModelRef } from '../../api/ModelRef';
import type { RoleView } from '../../api/RoleView';
import type { Snapshot } from '../../api/Snapshot';
import { idOf, withOf, type Roles } from './arrangement';

/** What is held, whole: any failure comes back to exactly this. */
export type Kept = Pick<Snapshot, 'active' | 'roles' | 'models' | 'instances' | 'on_request' | 'pins'> & {
  scene: string | null;
  loadedWith: ReadonlyMap<string, LoadSettings>;
};

/** What was held, as the roles that bring it back. */
export function rolesOf(kept: Kept): Roles {
  const roles: Roles = {};
  for (const one of kept.roles)
    roles[one.role] = {
      ...{ ...one.model, ...one.with, pinned: one.pinned, priority: one.priority },
      ...(one.idle_s !== null && { idle_s: one.idle_s }),
    };
  const { active } = kept;
  if (active !== null && !kept.roles.some((one) => one.leads))
    roles.active = { server: active.server, model: active.model, pinned: false, priority: 'normal' };
  return roles;
}

/** The roles in force, by name. */
export function viewsOf(roles: Roles, lead: string | null): RoleView[] {
  return Object.entries(roles)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([role, one]) => ({
      role,
      model: { server: one.server, model: one.model },
      instance: one.model,
      with: withOf(one),
      pinned: one.pinned,
      priority: one.priority,
      idle_s: one.idle_s ?? null,
      leads: role === lead,
      waits: false,
      absent: null,
    }));
}

export function instanceOf(ref: ModelRef, wish: LoadSettings, snapshot: Snapshot): Snapshot['instances'][number] {
  const size = snapshot.models.find((one) => one.id === idOf(ref))?.size_bytes ?? 0;
  return {
    ...{ id: ref.model, server: ref.server, model: ref.model, memory_bytes: size * 1.4, gpu_memory_bytes: null },
    ...{ context: wish.context ?? 4096, slots: wish.parallel ?? null, expiry: 'never' },
    ...{ pid: null, port: null, orphaned_answers: null },
  };
}

/** What is in memory, as roles: the active model as `active`, the others by their names. */
export function rolesInMemory(snapshot: Snapshot, loadedWith: ReadonlyMap<string, LoadSettings>): Roles {
  const { instances, active, roles, models } = snapshot;
  const now: Roles = {};
  for (const one of instances) {
    const held = roles.find((role) => idOf(role.model) === idOf(one));
    const isActive = active !== null && idOf(active) === idOf(one);
    const purpose = models.find((model) => model.id === idOf(one))?.purpose;
    const plain = one.model
      .toLowerCase()
      .replace(/[^a-z0-9._-]+/g, '-')
      .replace(/^[^a-z0-9]+/, '')
      .slice(0, 32);
    const name = isActive ? 'active' : (held?.role ?? (purpose === 'embedding' ? 'embed' : plain));
    const { pinned, priority, idle_s } = held ?? { pinned: false, priority: 'normal' as const, idle_s: null };
    now[name] = {
      ...{ server: one.server, model: one.model, pinned, priority },
      ...(loadedWith.get(idOf(one)) ?? {}),
      ...(idle_s !== null && { idle_s }),
    };
  }
  return now;
}
