import { beforeEach, describe, expect, it } from 'vitest';
import type { ApiError } from '../src/api/ApiError';
import type { Call } from '../src/api/Call';
import type { RoleSettings } from '../src/api/RoleSettings';
import type { Snapshot } from '../src/api/Snapshot';
import { asApiError, expectReply } from '../src/backend/backend';
import { FakeBackend } from '../src/backend/fake/backend';
import { taking } from '../src/scenes/plan';

const role = (server: string, model: string, more: Partial<RoleSettings> = {}): RoleSettings => ({
  ...{ server, model, pinned: false, priority: 'normal' },
  ...more,
});
const GEMMA = role('ollama', 'gemma3:4b', { context: 8192 });

let engine: FakeBackend;
beforeEach(() => {
  engine = new FakeBackend('hybrid', 0);
});

async function snapshot(): Promise<Snapshot> {
  return expectReply(await engine.call({ call: 'snapshot' }), 'snapshot').snapshot;
}
async function plan(call: { name: string } | { roles: Record<string, RoleSettings> }) {
  return expectReply(await engine.call({ call: 'plan_scene', ...call }), 'scene_plan').plan;
}
async function apply(name: string, roles?: Record<string, RoleSettings>) {
  const call: Call = { call: 'apply_scene', name, ...(roles && { roles }), dry_run: false, now: false };
  return expectReply(await engine.call(call), 'scene').report;
}
async function refusal(call: Call): Promise<ApiError> {
  try {
    await engine.call(call);
  } catch (error) {
    return asApiError(error);
  }
  throw new Error('it was not refused');
}
/** What is held, field by field. */
const held = ({ active, roles, pins, instances, models }: Snapshot) => ({
  ...{ active, roles, pins },
  instances: instances.map(({ server, model, context, slots }) => ({ server, model, context, slots })),
  loaded: models.filter((one) => one.loaded).map((one) => one.id),
});

describe('the simulated engine with scenes', () => {
  it('starts with one in force, as it stands in the settings', async () => {
    const { scenes, roles, active } = await snapshot();
    expect(scenes.map((one) => [one.name, one.in_force, one.changed])).toEqual([
      ['Hybrid', true, false],
      ['Coding', false, false],
      ['Search night', false, false],
      ['Big and small', false, false],
    ]);
    expect(roles.find((one) => one.leads)?.role).toBe('critical');
    expect(active?.model).toBe('qwen2.5-7b-instruct-mlx');
    expect(scenes[3]).toMatchObject({ fits: false });
    expect(scenes[3]?.fits_reason).toMatch(/^[\d.]+ GB more than fits$/);
  });

  it('applies a scene: roles, active, pins and undo follow, and it goes back whole', async () => {
    const before = held(await snapshot());
    expect(await apply('Coding')).toMatchObject({ outcome: 'committed', scene: 'Coding' });
    const after = await snapshot();
    expect(after.active?.model).toBe('google/gemma-3-12b');
    expect(after.roles.map((one) => one.role)).toEqual(['background', 'critical']);
    expect(after.scenes.find((one) => one.in_force)?.name).toBe('Coding');
    expect(after.pins).toEqual([]);
    expect(after.arranging).toBeNull();
    expect(after.undo).toMatchObject({ back_to: 'Hybrid', done: 'Coding is in force' });
    expect(after.restore_at).not.toBeNull();
    await engine.call({ call: 'undo' });
    const back = await snapshot();
    expect(held(back)).toEqual(before);
    expect(back.undo).toBeNull();
    expect((await refusal({ call: 'undo' })).code).toBe('not_found');
  });

  it('plans in the engine’s order, with times where they are known and without where they are not', async () => {
    const coding = await plan({ name: 'Coding' });
    expect(coding.steps.map((step) => step.name)).toEqual(['prove', 'load', 'prove', 'commit', ...unloads(3)]);
    expect(coding.untouched).toEqual(['background']);
    const known = await plan({ roles: { small: role('ollama', 'llama3.1:8b') } });
    const unknown = await plan({ roles: { small: GEMMA, background: role('ollama', 'gemma3:12b') } });
    expect(known.takes_s).toBeGreaterThan(0);
    expect(unknown.takes_s).toBeNull();
    const reloaded = await plan({ roles: { background: role('ollama', 'qwen2.5:3b', { context: 16_384 }) } });
    expect(reloaded.steps.map((step) => step.name).slice(0, 2)).toEqual(['unload', 'load']);
  });

  it('refuses what does not fit with the arithmetic and with offers, and changes nothing', async () => {
    const before = held(await snapshot());
    const told = await plan({ name: 'Big and small' });
    expect(told.fits).toBe(false);
    expect(told.refusal?.message).toMatch(
      /^Big and small needs [\d.]+ GB more than fits: [\d.]+ GB to load, [\d.]+ GB free once what leaves has left\.$/,
    );
    const enough = told.offers.find((one) => one.without_role === 'background');
    expect(enough).toMatchObject({ what: 'Without background', enough: true });
    expect(told.offers.some((one) => one.unload !== null)).toBe(false);
    for (const dry_run of [true, false]) {
      const refused = await refusal({ call: 'apply_scene', name: 'Big and small', dry_run, now: false });
      expect(refused.code).toBe('does_not_fit');
      expect(refused.hint).toMatch(/^It would fit this way: .*critical with context \d+/);
    }
    expect(held(await snapshot())).toEqual(before);
  });

  it('offers smaller settings of a role, each enough alone and as its server can load it', async () => {
    const { scenes } = await snapshot();
    const roles = scenes.find((one) => one.name === 'Big and small')?.roles ?? {};
    const told = await plan({ name: 'Big and small' });
    const smaller = told.offers.filter((one) => one.smaller !== null);
    expect(smaller.length).toBeGreaterThan(0);
    // They come before what is left out or unloaded.
    expect(told.offers.slice(0, smaller.length)).toEqual(smaller);
    for (const offer of smaller) {
      expect(offer.frees_bytes).toBeGreaterThanOrEqual(told.shortfall_bytes ?? Infinity);
      // No server here but llama-server takes a KV type with a load.
      expect(offer.smaller).toMatchObject({ role: 'critical', kv_type: null });
      expect(offer.what).toBe(`critical with context ${offer.smaller?.context}`);
      expect((await plan({ roles: taking(offer, roles) })).fits).toBe(true);
    }
    // The longest that is enough: the next longer one is not.
    const longest = smaller[0]?.smaller?.context ?? 0;
    const critical = { ...(roles.critical as RoleSettings), context: 2 * longest };
    expect((await plan({ roles: { ...roles, critical } })).fits).toBe(false);
  });

  it.each<[string, Record<string, RoleSettings>, ApiError['code'], RegExp]>([
    ['a model that is not there', { small: role('ollama', 'nothing:1b') }, 'not_found', /^small: Ollama has no model/],
    ['a mistake', { small: role('ollama', 'gemma3:4b', { parallel: 65 }) }, 'invalid_call', /roles\.small\.parallel/],
    ['a setting', { small: role('lmstudio', 'bge-m3', { kv_type: 'q8_0' }) }, 'unsupported', /KV type .*\(small\)/],
  ])('names %s that cannot be', async (_, roles, code, words) => {
    const refused = await refusal({ call: 'apply_scene', name: 'Coding', roles, dry_run: false, now: false });
    expect(refused.code).toBe(code);
    expect(refused.message).toMatch(words);
  });

  it('says that a server does not run', async () => {
    await engine.call({ call: 'stop_server', server: 'ollama' });
    const refused = await refusal({ call: 'apply_scene', name: 'Coding', dry_run: false, now: false });
    expect([refused.code, refused.message]).toEqual([
      'not_running',
      'Ollama does not run, so background cannot be loaded. Nothing was changed.',
    ]);
  });

  it('puts everything back when a load fails, or when it is cancelled', async () => {
    const before = held(await snapshot());
    engine.residency.failing.add('lmstudio/google/gemma-3-12b');
    const failed = await apply('Coding');
    expect([failed.outcome, failed.error?.code]).toEqual(['rolled_back', 'load_failed']);
    expect(failed.reason).toMatch(/^Gemma 3 12B could not be loaded/);
    expect(held(await snapshot())).toEqual(before);
    engine.residency.failing.clear();
    const running = apply('Coding');
    while ((await snapshot()).arranging === null);
    await engine.call({ call: 'cancel_switch' });
    expect((await running).outcome).toBe('cancelled');
    expect(held(await snapshot())).toEqual(before);
  });

  it('unloads, but nothing that is pinned; unloading the active model deactivates it, and can be taken back', async () => {
    expect((await refusal(unload('lmstudio/qwen2.5-0.5b-instruct'))).code).toBe('pinned');
    await engine.call({ call: 'pin', model: 'lmstudio/qwen2.5-0.5b-instruct', pinned: false });
    await engine.call(unload('lmstudio/qwen2.5-0.5b-instruct'));
    expect((await snapshot()).roles.find((one) => one.role === 'small')?.instance).toBeNull();
    expect((await refusal(unload('lmstudio/qwen2.5-0.5b-instruct'))).code).toBe('not_found');
    const before = held(await snapshot());
    await engine.call(unload('lmstudio/qwen2.5-7b-instruct-mlx'));
    expect((await snapshot()).active).toBeNull();
    expect((await snapshot()).undo).toMatchObject({ back_to: 'Hybrid', done: 'No model is active' });
    await engine.call({ call: 'undo' });
    expect(held(await snapshot())).toEqual(before);
  });

  it('frees the memory, and restores it', async () => {
    const before = held(await snapshot());
    await apply('Free the memory');
    const empty = await snapshot();
    expect([empty.active, empty.roles]).toEqual([null, []]);
    expect(empty.instances.map((one) => one.model)).toEqual(['llama3.2:1b']);
    await apply('Restore');
    expect(held(await snapshot()).roles).toEqual(before.roles);
  });

  it('keeps scenes in the settings file: saved, renamed, ordered, deleted', async () => {
    const names = async () => (await snapshot()).scenes.map((one) => one.name);
    await engine.call({ call: 'save_scene', name: 'Now' });
    expect((await snapshot()).scenes.find((one) => one.name === 'Now')?.roles).toHaveProperty('active');
    await engine.call({ call: 'order_scenes', names: ['Now', 'Coding'] });
    expect((await names()).slice(0, 2)).toEqual(['Now', 'Coding']);
    await engine.call({ call: 'save_scene', name: 'Evening', roles: { small: GEMMA }, renames: 'Now' });
    expect((await names())[0]).toBe('Evening');
    await engine.call({ call: 'delete_scene', name: 'Evening' });
    expect(await names()).not.toContain('Evening');
    expect((await refusal({ call: 'delete_scene', name: 'Evening' })).code).toBe('not_found');
    expect((await refusal({ call: 'save_scene', name: 'restore', roles: {} })).hint).toMatch(/Restore/);
  });

  it('says what it would do and does nothing, where only that is asked for', async () => {
    const before = await snapshot();
    const dry_run = true;
    const named = await engine.call({ call: 'save_scene', name: ' Coding ', roles: { small: GEMMA }, dry_run });
    expect(named).toEqual({ reply: 'scene_to_save', name: 'Coding', roles: { small: GEMMA }, replaces: true });
    const held = expectReply(await engine.call({ call: 'save_scene', name: 'Now', dry_run }), 'scene_to_save');
    expect(held.replaces).toBe(false);
    expect(held.roles).toHaveProperty('active');
    expect(await engine.call({ call: 'delete_scene', name: 'Coding', dry_run })).toEqual({ reply: 'done' });
    const report = expectReply(
      await engine.call({ call: 'apply_scene', name: 'Coding', dry_run, now: false }),
      'scene',
    );
    expect(report.report).toMatchObject({ scene: 'Coding', outcome: 'committed', dry_run: true, took_ms: 0 });
    expect(report.report.loaded.map((one) => one.model)).toEqual(['google/gemma-3-12b']);
    expect(report.report.steps.every((step) => step.ms === 0)).toBe(true);
    const after = await snapshot();
    expect([after.scenes, after.roles, after.arranging, after.undo]).toEqual([before.scenes, before.roles, null, null]);
    // Refused as the real thing.
    expect((await refusal({ call: 'delete_scene', name: 'Evening', dry_run })).code).toBe('not_found');
    expect((await refusal({ call: 'save_scene', name: 'restore', roles: {}, dry_run })).code).toBe('invalid_call');
    const taken: Call = { call: 'save_scene', name: 'Hybrid', roles: {}, renames: 'Coding', dry_run };
    expect((await refusal(taken)).code).toBe('busy');
    engine.settings.mistake = 'line 7: “gatway” is not a setting';
    expect((await refusal({ call: 'delete_scene', name: 'Coding', dry_run })).code).toBe('settings_invalid');
  });

  it('makes a switch take over from the role that leads, and marks the scene as changed', async () => {
    await engine.call({ call: 'switch', model: 'ollama/phi3:3.8b', dry_run: false, now: false });
    const after = await snapshot();
    expect(after.roles.find((one) => one.leads)).toMatchObject({ role: 'critical', model: { model: 'phi3:3.8b' } });
    expect(after.scenes[0]).toMatchObject({ in_force: true, changed: true });
    expect(after.undo).toMatchObject({ back_to: 'Hybrid', done: 'Phi-3 Mini 3.8B Instruct is active' });
  });

  it('writes other names', async () => {
    await engine.call({ call: 'set_alias', alias: 'gpt-4o', to: 'critical' });
    expect(engine.settings.table('gateway.aliases')).toEqual({ 'gpt-4o-mini': 'small', 'gpt-4o': 'critical' });
    await engine.call({ call: 'set_alias', alias: 'gpt-4o' });
    expect((await refusal({ call: 'set_alias', alias: 'gpt-4o' })).code).toBe('not_found');
    expect((await refusal({ call: 'set_alias', alias: 'active', to: 'small' })).code).toBe('invalid_call');
  });
});

const unloads = (n: number) => Array.from({ length: n }, () => 'unload');
const unload = (model: string): Call => ({ call: 'unload', model, now: false, dry_run: false });
