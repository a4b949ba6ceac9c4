/** Simulated scenes of a person who works with two servers: for development and tests, never in a production build. */
import type { RoleSettings } from '../../api/RoleSettings';
import type { SceneSettings } from '../../api/SceneSettings';
import type { Snapshot } from '../../api/Snapshot';
import { leadOf } from '../../scenes/rules';
import { idOf } from './arrangement';
import { viewsOf } from './held';
import { hasRoles, type Scene } from './scene-names';

function role(server: string, model: string, more: Partial<RoleSettings> = {}): RoleSettings {
  return { server, model, pinned: false, priority: 'normal', ...more };
}

/** The one that is in force at the start; null: none. */
export const inForceOf = (scene: Scene): string | null => (hasRoles(scene) ? firstOf(scene) : null);

const firstOf = (scene: Scene) =>
  scene === 'names' ? 'Everything-that-the-research-group-needs-in-the-evenings-ноч' : 'Hybrid';

/** What stands in the settings file. */
export function scenesOf(scene: Scene, models: Snapshot['models']): Record<string, SceneSettings> {
  if (!hasRoles(scene)) return {};
  // By their places in the list: in `names` they are called otherwise.
  const name = (id: string, at: number) => (scene === 'names' ? (models[at]?.name ?? id) : id);
  const studio = name('qwen2.5-7b-instruct-mlx', 0);
  const small = role('lmstudio', name('qwen2.5-0.5b-instruct', 6), { context: 4096, parallel: 8, pinned: true });
  const embed = role('ollama', 'nomic-embed-text:latest', { context: 2048, parallel: 4, idle_s: 900 });
  const back = role('ollama', 'qwen2.5:3b', { context: 8192, parallel: 8, priority: 'background', idle_s: 1800 });
  const critical = role('lmstudio', studio, { context: 8192, parallel: 4, pinned: true, priority: 'critical' });
  const coder = role('lmstudio', 'google/gemma-3-12b', { context: 16_384, priority: 'critical' });
  const big = role('lmstudio', scene === 'names' ? 'command-r-08-2024' : 'google/gemma-3-27b', {
    ...{ context: 40_960, priority: 'critical', pinned: true },
  });
  const little = role('ollama', 'gemma3:4b', { context: 8192, priority: 'background' });
  const long: Record<string, RoleSettings> =
    scene === 'names' ? { 'the-longest-role-that-is-allowed': small } : { small };
  return {
    [firstOf(scene)]: { place: 1, roles: { critical, background: back, ...long, embed } },
    Coding: { place: 2, roles: { critical: coder, background: back } },
    'Search night': { place: 3, roles: { background: { ...back, model: 'granite3.3:2b' }, small, embed } },
    'Big and small': { place: 4, roles: { critical: big, background: little, embed: role('lmstudio', 'bge-m3') } },
  };
}

/** What is held for the scene in force. */
export function heldAtStart(scene: Scene, scenes: Record<string, SceneSettings>): Partial<Snapshot> {
  const roles = scenes[inForceOf(scene) ?? '']?.roles;
  if (roles === undefined) return { roles: [], pins: [], on_request: [] };
  const list = Object.entries(roles);
  const lead = leadOf(
    list.map(([name, one]) => ({ role: name, priority: one.priority })),
    (name) => name !== 'embed',
  );
  const model = { server: 'ollama', model: 'llama3.2:1b' };
  return {
    roles: viewsOf(roles, lead),
    pins: list.filter(([, one]) => one.pinned).map(([, one]) => ({ server: one.server, model: one.model })),
    on_request: [
      { model, instance: model.model, last_used_at: new Date(Date.now() - 60_000).toISOString(), idle_s: 900 },
    ],
  };
}

/** Whether a model is in memory at the start, because of the scene in force or of a program. */
export function isHeldAtStart(scene: Scene, scenes: Record<string, SceneSettings>, id: string): boolean {
  const roles = scenes[inForceOf(scene) ?? '']?.roles ?? {};
  return hasRoles(scene) && (id === 'ollama/llama3.2:1b' || Object.values(roles).some((one) => idOf(one) === id));
}
