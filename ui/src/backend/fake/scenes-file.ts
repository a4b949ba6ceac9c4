/** The scenes and other names in the simulated settings file, with the engine's refusals. */
import type { ApiError } from '../../api/ApiError';
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

  /** Whether a scene of that name stood there. With `dry_run` nothing is written. */
  save(call: Extract<Call, { call: 'save_scene' }> & { roles: Roles }): boolean {
    const { name, roles, renames, dry_run } = call;
    this.check(name, roles);
    const scenes = this.all();
    const replaces = scenes[name] !== undefined;
    let before = scenes[name];
    if (renames !== undefined && renames !== name) {
      before = scenes[renames];
      if (before === undefined) throw noScene(renames);
      if (replaces)
        throw fault('busy', `There is a scene “${name}” already. Nothing was written.`, 'Choose another name.');
      delete scenes[renames];
    }
    const place = before?.place;
    const scene = { ...(place !== undefined && { place }), roles };
    this.#settings.setTable('scenes', { ...scenes, [name]: scene }, dry_run);
    return replaces;
  }

  remove(name: string, dry_run = false): void {
    const { [name]: gone, ...others } = this.all();
    if (gone === undefined) throw noScene(name);
    this.#settings.setTable('scenes', others, dry_run);
  }

  order(names: string[]): void {
    const scenes = this.all();
    const missing = names.find((name) => scenes[name] === undefined);
    if (missing !== undefined) throw noScene(missing);
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

function noScene(name: string): ApiError {
  return fault('not_found', `There is no scene “${name}”.`, '“pilothouse scenes” lists them.');
}
