/** With which smaller settings of a role a set of roles would fit: the engine's `domain::residency::smaller`, and how its scenes ask. */
import type { KvType } from '../../api/KvType';
import type { LoadSettings } from '../../api/LoadSettings';
import type { RoleSettings } from '../../api/RoleSettings';
import type { SceneOffer } from '../../api/SceneOffer';
import { kvTypes, priorities } from '../../scenes/rules';

const CONTEXTS = [131_072, 65_536, 32_768, 16_384, 8192, 4096, 2048];
const NARROWER: KvType[] = ['q8_0', 'q4_0'];
/** With what a role is loaded that does not say. */
const USUAL = { context: 4096, kv_type: 'f16' } as const satisfies LoadSettings;

/** Shorter contexts and narrower types of the cache, each alone and both together. */
export function smallerSettings(has: LoadSettings): LoadSettings[] {
  const { context, kv_type } = { ...USUAL, ...has };
  const width = (kv: KvType) => kvTypes.indexOf(kv);
  const shorter = (one: LoadSettings) =>
    CONTEXTS.filter((tokens) => tokens < context).map((tokens) => ({ ...one, context: tokens }));
  const narrower = NARROWER.filter((kv) => width(kv) > width(kv_type)).map((kv) => ({ ...has, kv_type: kv }));
  return [...shorter(has), ...narrower, ...narrower.flatMap(shorter)];
}

interface Smaller {
  with: LoadSettings;
  frees_bytes: number;
}

/** The least change of each kind that is enough alone; where neither is, the least of both together. */
export function smallerThatFits(
  has: LoadSettings,
  bytes: number,
  reckoned: readonly (readonly [LoadSettings, number])[],
  short: number,
): Smaller[] {
  const enough = reckoned
    .map(([wish, then]) => ({ with: wish, frees_bytes: Math.max(0, bytes - then) }))
    .filter((one) => one.frees_bytes > 0 && one.frees_bytes >= short);
  const rank = ({ with: { context = 0, kv_type } }: Smaller) =>
    [context, kv_type === undefined ? 0 : kvTypes.length - kvTypes.indexOf(kv_type)] as const;
  // The least that is given up: the longest context, then the widest type.
  const least = (contextChanges: boolean, kvChanges: boolean): Smaller[] =>
    enough
      .filter(
        (one) =>
          (one.with.context !== has.context) === contextChanges && (one.with.kv_type !== has.kv_type) === kvChanges,
      )
      .sort((a, b) => rank(b)[0] - rank(a)[0] || rank(b)[1] - rank(a)[1])
      .slice(0, 1);
  const alone = [...least(true, false), ...least(false, true)];
  return alone.length > 0 ? alone : least(true, true);
}

export interface Loaded {
  role: string;
  settings: RoleSettings;
  has: LoadSettings;
  /** What its model takes as the role says now. */
  bytes: number;
  /** What it would take with other settings; null: not known, or its server cannot load it so. */
  reckon: (wish: LoadSettings) => number | null;
}

/** The least important role first, as where roles are left out. Each of these is enough alone. */
export function smallerOffers(loads: readonly Loaded[], short: number): SceneOffer[] {
  const rank = ({ settings }: Loaded) => priorities.indexOf(settings.priority);
  return [...loads]
    .sort((a, b) => rank(b) - rank(a))
    .flatMap(({ role, has, bytes, reckon }) => {
      const reckoned = smallerSettings(has).flatMap((wish) => {
        const then = reckon(wish);
        return then === null ? [] : [[wish, then] as const];
      });
      return smallerThatFits(has, bytes, reckoned, short).map((one) => offerOf(role, has, one));
    });
}

function offerOf(role: string, has: LoadSettings, { with: wish, frees_bytes }: Smaller): SceneOffer {
  const context = wish.context === has.context ? null : (wish.context ?? null);
  const kv_type = wish.kv_type === has.kv_type ? null : (wish.kv_type ?? null);
  const words = [context === null ? null : `context ${context}`, kv_type === null ? null : `KV type ${kv_type}`];
  const what = `${role} with ${words.filter((one) => one !== null).join(' and ')}`;
  return { what, without_role: null, unload: null, smaller: { role, context, kv_type }, frees_bytes, enough: true };
}

/** So many offers are named in a hint. */
const NAMED = 3;

/** What would make it fit, as the hint of a refusal; null: no single change would. */
export function hintOf(offers: readonly SceneOffer[]): string | null {
  const inside = ({ what, smaller }: SceneOffer) =>
    // A role is written as its owner writes it.
    smaller === null ? what.charAt(0).toLowerCase() + what.slice(1) : what;
  const enough = offers.filter((one) => one.enough).slice(0, NAMED);
  const last = enough.at(-1);
  if (last === undefined) return null;
  const before = enough.slice(0, -1).map(inside).join(', ');
  return `It would fit this way: ${before === '' ? '' : `${before} or `}${inside(last)}.`;
}
