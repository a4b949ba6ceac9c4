/** What applying a scene would do, asked by the page that shows it: each page has its own, which ends with it. */
import type { SceneOffer } from '../api/SceneOffer';
import type { ScenePlan } from '../api/ScenePlan';
import { expectReply } from '../backend/backend';
import { Question } from '../fit.svelte';
import type { Store } from '../store.svelte';
import { isBuiltIn, type Key, type SceneDesk } from './desk.svelte';
import { rolesOf } from './draft';
import { taking } from './plan';

/** The plan is asked for once the hand rests. */
const REST_MS = 300;

export class PlanQuestion {
  readonly plan: Question<ScenePlan>;
  /** Of what remains when an offer is taken. */
  readonly without: Question<ScenePlan>;
  readonly #desk: SceneDesk;

  constructor(store: Store, desk: SceneDesk) {
    const read = (reply: Parameters<typeof expectReply>[0]) => expectReply(reply, 'scene_plan').plan;
    this.plan = new Question((call) => store.call(call), read);
    this.without = new Question((call) => store.call(call), read);
    this.#desk = desk;
  }

  /** Asks once nobody types any more. */
  ask(key: Key): void {
    const draft = this.#desk.draft(key);
    if (isBuiltIn(key)) this.plan.ask({ call: 'plan_scene', name: key }, 0);
    else if (draft !== null) this.plan.ask({ call: 'plan_scene', roles: rolesOf(draft) }, REST_MS);
  }

  askWithout(key: Key, offer: SceneOffer | null): void {
    const draft = this.#desk.draft(key);
    if (offer === null || offer.unload !== null || draft === null) this.without.clear();
    else this.without.ask({ call: 'plan_scene', roles: taking(offer, rolesOf(draft)) }, 0);
  }

  close(): void {
    this.plan.close();
    this.without.close();
  }
}
