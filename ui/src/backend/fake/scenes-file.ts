/** The scenes and other names in the simulated settings file, with the engine's refusals. */
import type { Call } from '../../api/Call';
import type { SceneSettings } from '../../api/SceneSettings';
import { wrongAlias, wrongScene, wrongTarget } from '../../scenes/rules';
import type { Roles } from './arrangement';
import { fault } from './fault';
import type { FakeSettings } from './settings';

export class FakeScenes {
  readonly #settings: FakeSettings;

  constructor(settings: FakeSettings) {
    this.#settings = settings;
  }

  all(): Record<string, SceneSettings> {
    return this.#settings.table<SceneSettings>('scenes');
  }

  /** Throws with the key at which the mistake stands. */
  check(name: string, roles: Roles): void {
    const wrong = wrongScene(name, roles);
    if (wrong !== null)
      throw fault('invalid_call', `${wrong.key} is not allowed. Nothing was written.`, `Allowed: ${wrong.allowed}.`);
  }

  /** `now`: what is in memory, where the call brings no roles. */
  save({ name, roles = undefined, renames }: Extract<Call, { call: 'save_scene' }>, now: Roles): void {
    const wanted = roles ?? now;
    this.check(name, wanted);
    const scenes = this.all();
    if (renames !== undefined && scenes[renames] === undefined)
      throw fault('not_found', `There is no scene “${renames}”.`);
    const place = scenes[renames ?? name]?.place;
    if (renames !== undefined) delete scenes[renames];
    this.#settings.setTable('scenes', { ...scenes, [name]: { ...(place !== undefined && { place }), roles: wanted } });
  }

  remove(name: string): void {
    const { [name]: gone, ...others } = this.all();
    if (gone === undefined) throw fault('not_found', `There is no scene “${name}”.`);
    this.#settings.setTable('scenes', others);
  }

  order(names: string[]): void {
    const scenes = this.all();
    const missing = names.find((name) => scenes[name] === undefined);
    if (missing !== undefined) throw fault('not_found', `There is no scene “${missing}”.`);
    const rest = Object.keys(scenes).filter((name) => !names.includes(name));
    const placed = [...names, ...rest].map((name, index) => [
      name,
      { place: index + 1, roles: scenes[name]?.roles ?? {} },
    ]);
    this.#settings.setTable('scenes', Object.fromEntries(placed) as Record<string, SceneSettings>);
  }

  alias(alias: string, to: string | undefined): void {
    const aliases = this.#settings.table<string>('gateway.aliases');
    if (to === undefined) {
      const { [alias]: gone, ...others } = aliases;
      if (gone === undefined) throw fault('not_found', `There is no other name “${alias}”.`);
      this.#settings.setTable('gateway.aliases', others);
      return;
    }
    const wrong = wrongAlias(alias) ?? wrongTarget(to, alias);
    if (wrong !== null)
      throw fault(
        'invalid_call',
        `gateway.aliases.${alias} is not allowed. Nothing was written.`,
        `Allowed: ${wrong}.`,
      );
    this.#settings.setTable('gateway.aliases', { ...aliases, [alias]: to });
  }
}
