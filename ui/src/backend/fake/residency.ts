/** The simulated engine's scenes, pins, unloading and undo: for development and tests, never in a production build. What is held stands
 * in the snapshot; here is only what the snapshot does not tell. */
import type { Active } from '../../api/Active';
import type { Call } from '../../api/Call';
import type { LoadSettings } from '../../api/LoadSettings';
import type { ModelRef } from '../../api/ModelRef';
import type { Reply } from '../../api/Reply';
import type { ScenePlan } from '../../api/ScenePlan';
import type { SceneReport } from '../../api/SceneReport';
import type { SceneView } from '../../api/SceneView';
import type { Snapshot } from '../../api/Snapshot';
import type { SwitchOutcome } from '../../api/SwitchOutcome';
import type { SwitchReport } from '../../api/SwitchReport';
import type { SwitchPhase } from '../../api/SwitchPhase';
import { FREE_MEMORY, leadOf, RESTORE } from '../../scenes/rules';
import { checkServers, idOf, planOf, sceneViews, titleOf, withOf, type Known, type Roles } from './arrangement';
import { extraCopies } from '../../roles';
import { fault } from './fault';
import { instanceOf, rolesInMemory, rolesOf, viewsOf, type Kept } from './held';
import type { Host } from './host';
import { FakeScenes } from './scenes-file';
import { hintOf } from './smaller';

const UNDO_MS = 60_000;
/** What of a load is done after each of its steps. */
const PROGRESS = [0, 0.34, 0.71];

export type ResidencyCall = Extract<
  Call,
  {
    call:
      | 'unload'
      | 'unload_copy'
      | 'deactivate'
      | 'undo'
      | 'pin'
      | 'apply_scene'
      | 'plan_scene'
      | 'save_scene'
      | 'delete_scene'
      | 'order_scenes'
      | 'set_alias';
  }
>;

export class FakeResidency {
  /** Models whose loads fail, by id. */
  readonly failing = new Set<string>();
  readonly #host: Host;
  readonly #file: FakeScenes;
  #scene: string | null = null;
  #loadedWith: ReadonlyMap<string, LoadSettings> = new Map();
  #undo: { kept: Kept; isSwitch: boolean } | null = null;
  #restore: Kept | null = null;
  #run = 0;

  /** `inForce`: the scene that was applied before the start. */
  constructor(host: Host, inForce: string | null) {
    this.#host = host;
    this.#file = new FakeScenes(host.settings);
    this.#scene = inForce;
    const roles = this.#file.all()[inForce ?? '']?.roles ?? {};
    this.#loadedWith = new Map(Object.values(roles).map((role) => [idOf(role), withOf(role)]));
  }

  /** Those of the settings, as they look in this snapshot. */
  views(snapshot: Snapshot): SceneView[] {
    return sceneViews(this.#known(snapshot), this.#file.all(), this.#scene);
  }

  call(call: ResidencyCall): Reply | Promise<Reply> {
    switch (call.call) {
      case 'unload':
        return this.#unload(this.#find(call.model), call.dry_run);
      case 'unload_copy':
        return this.#unloadCopy(call.server, call.instance);
      case 'deactivate':
        return this.#deactivate(call.dry_run);
      case 'undo':
        return this.#takeBack();
      case 'pin':
        return this.#pin(this.#find(call.model), call.pinned);
      case 'apply_scene':
        return this.#apply(call);
      case 'plan_scene':
        return { reply: 'scene_plan', plan: this.#plan(call) };
      case 'save_scene':
        return this.#save(call);
      case 'delete_scene':
        this.#file.remove(call.name, call.dry_run);
        if (call.dry_run) return { reply: 'done' };
        if (this.#scene === call.name) this.#scene = null;
        break;
      case 'order_scenes':
        this.#file.order(call.names);
        break;
      case 'set_alias':
        this.#file.alias(call.alias, call.to);
    }
    this.#host.change({});
    return { reply: 'done' };
  }

  #save(call: Extract<Call, { call: 'save_scene' }>): Reply {
    const roles = call.roles ?? this.#inMemory();
    const name = call.name.trim();
    const replaces = this.#file.save({ ...call, name, roles });
    if (call.dry_run) return { reply: 'scene_to_save', name, roles, replaces };
    if (call.renames !== undefined && call.renames === this.#scene) this.#scene = name;
    this.#host.change({});
    return { reply: 'done' };
  }

  #inMemory(): Roles {
    const roles = rolesInMemory(this.#host.snapshot(), this.#loadedWith);
    if (Object.keys(roles).length === 0)
      throw fault(
        'not_found',
        'No model is in memory, so there is nothing to save.',
        'Load what the scene shall hold, then save it.',
      );
    return roles;
  }

  /** Ends what is under way; false: nothing is. */
  cancel(): boolean {
    if (this.#host.snapshot().arranging === null) return false;
    this.#run += 1;
    return true;
  }

  /** What can no longer be taken back is forgotten. */
  tick(): void {
    const { undo } = this.#host.snapshot();
    if (undo !== null && Date.parse(undo.until) <= Date.now()) this.#host.change({ undo: null });
  }

  /** What is held now; a switch that ends well hands it to `switched`. */
  keep(): Kept {
    const { active, roles, models, instances, on_request, pins } = this.#host.snapshot();
    return { active, roles, models, instances, on_request, pins, scene: this.#scene, loadedWith: this.#loadedWith };
  }

  /** What a switch with settings of its load would do. Throws as the engine refuses it. */
  planSwitch(id: string, settings: LoadSettings): SwitchReport {
    const model = this.#find(id);
    const snapshot = this.#host.snapshot();
    const server = snapshot.servers.find((one) => one.id === model.server);
    const takes = server?.abilities.loads_with;
    const refused = (Object.keys(settings) as (keyof LoadSettings)[]).find((key) => !takes?.[key]);
    if (refused !== undefined)
      throw fault('unsupported', `${server?.title ?? model.server} takes no ${refused} with a load.`, 'Leave it out.');
    const roles = rolesOf(this.keep());
    const lead = snapshot.roles.find((role) => role.leads)?.role ?? 'active';
    const { pinned, priority } = roles[lead] ?? { pinned: false, priority: 'normal' };
    const wanted = { ...roles, [lead]: { ...model, ...settings, pinned, priority } };
    const plan = planOf(this.#known(), wanted, titleOf(snapshot, model));
    if (plan.refusal !== null)
      throw { ...plan.refusal, hint: 'Load it with less, choose a smaller model, or unload what others have loaded.' };
    const from = snapshot.active === null ? null : { server: snapshot.active.server, model: snapshot.active.model };
    const steps = plan.steps.map(({ name }) => ({ name, ms: 0 }));
    return {
      ...{ switch_id: 0, from, to: model, outcome: 'committed', dry_run: true, took_ms: 0, load_ms: null },
      ...{ first_token_ms: null, steps, answers_cut: 0, journalled: true, reason: null, error: null },
    };
  }

  /** Another model became active, or the same one is loaded otherwise: the role that leads stands for it from now on, and it can be
   * taken back. */
  switched(before: Kept, settings?: LoadSettings): void {
    const { active, roles, instances } = this.#host.snapshot();
    if (active === null) return;
    const model = { server: active.server, model: active.model };
    const led = roles.map((role) => {
      const isOther = role.leads && idOf(role.model) !== idOf(model);
      const is = isOther || idOf(role.model) === idOf(model);
      const wish = is && settings !== undefined ? settings : isOther ? {} : role.with;
      return isOther ? { ...role, model, with: wish, instance: active.instance } : { ...role, with: wish };
    });
    const there = instances.some((one) => idOf(one) === idOf(model));
    const held = there ? instances : [...instances, instanceOf(model, {}, this.#host.snapshot())];
    if (settings !== undefined) this.#loadedWith = new Map([...this.#loadedWith, [idOf(model), settings]]);
    this.#host.change({
      roles: led,
      instances: held.map((one) =>
        settings === undefined || idOf(one) !== idOf(model)
          ? one
          : {
              ...one,
              ...(({ context, slots }) => ({ context, slots }))(instanceOf(model, settings, this.#host.snapshot())),
            },
      ),
      ...this.#undoTo(before, `${titleOf(this.#host.snapshot(), model)} is active`, true),
    });
  }

  #known(snapshot = this.#host.snapshot()): Known {
    const { scene } = this.#host;
    return { snapshot, scene, loadedWith: this.#loadedWith, loadTime: (model) => this.#host.loadTime(model) };
  }

  #find(name: string): ModelRef {
    const found = this.#host.snapshot().models.find((one) => one.id === name || one.name === name);
    if (found === undefined) throw fault('not_found', `No model is called “${name}”.`);
    return { server: found.server, model: found.name };
  }

  #undoTo(kept: Kept, done: string, isSwitch = false): Pick<Snapshot, 'undo'> {
    this.#undo = { kept, isSwitch };
    const back = kept.active === null ? null : titleOf(this.#host.snapshot(), kept.active);
    const until = new Date(Date.now() + UNDO_MS).toISOString();
    return { undo: { back_to: kept.scene ?? back, done, until } };
  }

  #put(kept: Kept): void {
    const { scene, loadedWith, ...held } = kept;
    this.#scene = scene;
    this.#loadedWith = loadedWith;
    // What the models are called and take is as it is now; only where they are is put back.
    const had = new Map(held.models.map((one) => [one.id, one]));
    const models = this.#host.snapshot().models.map((one) => {
      const before = had.get(one.id);
      return before === undefined ? one : { ...one, loaded: before.loaded, active: before.active };
    });
    this.#host.change({ ...held, models });
  }

  async #takeBack(): Promise<Reply> {
    const undo = this.#undo;
    if (undo === null || this.#host.snapshot().undo === null)
      throw fault('not_found', 'There is nothing to take back.', 'It can be for a minute after a change.');
    this.#undo = null;
    this.#host.change({ undo: null });
    const { active } = undo.kept;
    if (undo.isSwitch && active !== null) {
      const reply = await this.#host.switchTo(idOf(active));
      if (reply.reply === 'switch' && reply.report.outcome === 'committed') this.#put(undo.kept);
      this.#host.change({ undo: null });
      return reply;
    }
    await this.#host.go();
    this.#put(undo.kept);
    const report = reportOf(undo.kept.scene, 'committed', 900);
    return { reply: 'scene', report };
  }

  #plan(call: Extract<Call, { call: 'plan_scene' }>): ScenePlan {
    const roles = this.#wanted(call);
    return planOf(this.#known(), roles, call.name ?? 'This scene');
  }

  /** The roles that a call means; a built-in scene has those that it brings. */
  #wanted({ name, roles }: { name?: string; roles?: Roles }): Roles {
    if (roles !== undefined) {
      this.#file.check(name ?? 'scene', roles);
      return roles;
    }
    if (name === FREE_MEMORY) return {};
    if (name === RESTORE) {
      if (this.#restore === null) throw fault('not_found', 'There is nothing to bring back.');
      return rolesOf(this.#restore);
    }
    const found = this.#file.all()[name ?? ''];
    if (found === undefined)
      throw fault('not_found', `There is no scene “${name}”.`, '“pilothouse scenes” lists them.');
    return found.roles;
  }

  async #apply(call: Extract<Call, { call: 'apply_scene' }>): Promise<Reply> {
    const { arranging, switching } = this.#host.snapshot();
    if (!call.dry_run && (arranging !== null || switching !== null))
      throw fault('busy', 'A change of what is in memory is under way.', 'Wait for it, or cancel it.');
    const roles = this.#wanted(call);
    const plan = planOf(this.#known(), roles, call.name ?? 'This scene');
    const { refusal } = plan;
    if (refusal !== null) throw { ...refusal, hint: hintOf(plan.offers) ?? refusal.hint };
    checkServers(this.#known(), roles);
    const before = this.keep();
    const scene = call.name === RESTORE ? (this.#restore?.scene ?? null) : (call.name ?? null);
    if (call.dry_run) return rehearsed(scene, plan);
    const mine = ++this.#run;
    const startedAt = Date.now();
    const started_at = new Date(startedAt).toISOString();
    const { steps } = plan;
    for (const [done, step] of steps.entries()) {
      const left = steps.slice(done).map((one) => (one.name === 'load' ? one.seconds : 0));
      const eta_s = left.reduce((all, one) => (all === null || one === null ? null : all + one), 0);
      const phases = { unload: 'unloading', load: 'loading', prove: 'proving' } as Record<string, SwitchPhase>;
      const phase = phases[step.name] ?? 'committing';
      const told = { scene: call.name ?? null, phase, model: step.model, done, steps: steps.length, started_at };
      for (const progress of step.name === 'load' ? PROGRESS : [null]) {
        this.#host.change({ arranging: { ...told, progress, eta_s: eta_s === null ? null : Math.max(eta_s, 0) } });
        await this.#host.go();
        if (mine !== this.#run) return this.#end(scene, before, 'cancelled', startedAt);
        if (progress === PROGRESS[1] && step.model !== null && this.failing.has(idOf(step.model)))
          return this.#end(scene, before, 'rolled_back', startedAt, step.model);
      }
      if (step.name === 'unload' && step.model !== null) this.#leave(step.model);
      if (step.name === 'load' && step.model !== null) this.#load(step.model, roles);
      if (step.name === 'commit') this.#commit(scene, roles, before);
    }
    this.#host.change({ arranging: null });
    const report = reportOf(scene, 'committed', Date.now() - startedAt);
    return { reply: 'scene', report: { ...report, loaded: loadedBy(plan), evicted: plan.evicted } };
  }

  #end(scene: string | null, before: Kept, outcome: SwitchOutcome, startedAt: number, failed?: ModelRef): Reply {
    this.#put(before);
    this.#host.change({ arranging: null });
    const report = reportOf(scene, outcome, Date.now() - startedAt);
    if (failed === undefined) return { reply: 'scene', report };
    const title = titleOf(this.#host.snapshot(), failed);
    const reason = `${title} could not be loaded: the server says “error loading model: unable to allocate buffer”.`;
    const error = fault('load_failed', reason, 'Its log says more.');
    return { reply: 'scene', report: { ...report, reason, error } };
  }

  #leave(ref: ModelRef): void {
    const { models, instances, on_request, roles } = this.#host.snapshot();
    const is = (one: { server: string; model: string }) => idOf(one) === idOf(ref);
    this.#host.change({
      models: models.map((one) => (one.id === idOf(ref) ? { ...one, loaded: false } : one)),
      instances: instances.filter((one) => !is(one)),
      on_request: on_request.filter((one) => !is(one.model)),
      roles: roles.map((one) => (is(one.model) ? { ...one, instance: null } : one)),
    });
  }

  #load(ref: ModelRef, roles: Roles): void {
    const settings = Object.values(roles).find((one) => idOf(one) === idOf(ref));
    const wish = settings === undefined ? {} : withOf(settings);
    this.#loadedWith = new Map([...this.#loadedWith, [idOf(ref), wish]]);
    const { models, instances } = this.#host.snapshot();
    this.#host.change({
      models: models.map((one) => (one.id === idOf(ref) ? { ...one, loaded: true } : one)),
      instances: [...instances, instanceOf(ref, wish, this.#host.snapshot())],
    });
  }

  #commit(scene: string | null, roles: Roles, before: Kept): void {
    const { models, pins } = this.#host.snapshot();
    const answers = (ref: string) => models.find((one) => one.id === ref)?.purpose === 'llm';
    const list = Object.entries(roles);
    const lead = leadOf(
      list.map(([role, { priority }]) => ({ role, priority })),
      (role) => answers(idOf(roles[role] ?? { server: '', model: '' })),
    );
    const led = lead === null ? undefined : roles[lead];
    const active: Active | null = led ? { server: led.server, model: led.model, instance: led.model } : null;
    const pinned = [...new Map(list.filter(([, one]) => one.pinned).map(([, one]) => [idOf(one), one])).values()];
    const freed = before.roles.filter((role) => role.pinned).map((role) => idOf(role.model));
    this.#scene = scene === FREE_MEMORY ? null : scene;
    this.#restore = before;
    const done = scene === FREE_MEMORY ? 'The memory is free' : `${scene ?? 'The roles'} is in force`;
    this.#host.change({
      roles: viewsOf(roles, lead),
      active,
      models: models.map((one) => ({ ...one, active: active !== null && one.id === idOf(active) })),
      pins: [
        ...pins.filter((pin) => !freed.includes(idOf(pin)) && !pinned.some((one) => idOf(one) === idOf(pin))),
        ...pinned.map(({ server, model }) => ({ server, model })),
      ],
      restore_at: new Date().toISOString(),
      ...this.#undoTo(before, done),
    });
  }

  async #unload(ref: ModelRef, dry_run: boolean): Promise<Reply> {
    const { instances, active, pins } = this.#host.snapshot();
    const title = titleOf(this.#host.snapshot(), ref);
    const instance = instances.find((one) => idOf(one) === idOf(ref));
    if (instance === undefined) throw fault('not_found', `${title} is not in memory.`);
    if (active !== null && idOf(active) === idOf(ref)) return this.#deactivate(dry_run);
    if (pins.some((pin) => idOf(pin) === idOf(ref)))
      throw fault('pinned', `${title} is pinned. Nothing was changed.`, 'Unpin it first.');
    const unloaded = [{ server: ref.server, model: ref.model, instance: instance.id }];
    if (!dry_run) {
      await this.#host.go();
      this.#leave(ref);
    }
    return { reply: 'unloaded', unloaded, answers_cut: 0, deactivated: null, took_ms: 300, dry_run };
  }

  async #unloadCopy(server: string, id: string): Promise<Reply> {
    const snapshot = this.#host.snapshot();
    const copy = snapshot.instances.find((one) => one.server === server && one.id === id);
    if (copy === undefined) throw fault('not_found', `There is no copy ${id} in memory.`);
    if (!extraCopies(snapshot, copy).includes(copy))
      throw fault('invalid_call', `${id} is the copy that answers, so it stays.`, 'Unload the model to take it out.');
    await this.#host.go();
    this.#host.change({ instances: this.#host.snapshot().instances.filter((one) => one !== copy) });
    const unloaded = [{ server, model: copy.model, instance: id }];
    return { reply: 'unloaded', unloaded, answers_cut: 0, deactivated: null, took_ms: 300, dry_run: false };
  }

  async #deactivate(dry_run: boolean): Promise<Reply> {
    const { active } = this.#host.snapshot();
    if (active === null) throw fault('no_active_model', 'No model is active.');
    const before = this.keep();
    if (!dry_run) {
      await this.#host.go();
      this.#leave(active);
      const { models, roles } = this.#host.snapshot();
      this.#host.change({
        active: null,
        models: models.map((one) => ({ ...one, active: false })),
        roles: roles.filter((role) => !role.leads),
        ...this.#undoTo(before, 'No model is active'),
      });
    }
    return { reply: 'unloaded', unloaded: [active], answers_cut: 0, deactivated: active, took_ms: 300, dry_run };
  }

  #pin(model: ModelRef, pinned: boolean): Reply {
    const { pins, roles } = this.#host.snapshot();
    const others = pins.filter((pin) => idOf(pin) !== idOf(model));
    this.#host.change({
      pins: pinned ? [...others, model] : others,
      roles: roles.map((role) => (idOf(role.model) === idOf(model) ? { ...role, pinned } : role)),
    });
    return { reply: 'pinned', model, pinned };
  }
}

function reportOf(scene: string | null, outcome: SwitchOutcome, took_ms: number): SceneReport {
  const none = { steps: [], loaded: [], evicted: [], answers_cut: 0, reason: null, error: null };
  return { scene, outcome, dry_run: false, took_ms, journalled: true, ...none };
}

const loadedBy = ({ steps }: ScenePlan) =>
  steps.flatMap((one) => (one.name === 'load' && one.model !== null ? [one.model] : []));

/** The plan as a report; nothing is done. */
function rehearsed(scene: string | null, plan: ScenePlan): Reply {
  const steps = plan.steps.map(({ name }) => ({ name, ms: 0 }));
  const { evicted } = plan;
  const report = { ...reportOf(scene, 'committed', 0), dry_run: true, steps, loaded: loadedBy(plan), evicted };
  return { reply: 'scene', report };
}
