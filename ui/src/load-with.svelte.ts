/** What somebody would load a model with, and what the engine says of it while it is typed. */
import type { FitReport } from './api/FitReport';
import type { KvType } from './api/KvType';
import type { LoadSettings } from './api/LoadSettings';
import type { ModelView } from './api/ModelView';
import type { SwitchReport } from './api/SwitchReport';
import { expectReply } from './backend/backend';
import { Question } from './fit.svelte';
import type { Wish } from './memory';
import { emptyRole, settingsOf } from './scenes/draft';
import { kvTypes, wrongSettings, type Wrongs } from './scenes/rules';
import type { Store } from './store.svelte';
import { loadWith as words } from './text';

export class LoadDraft {
  context = $state('');
  parallel = $state('');
  kv = $state<KvType | ''>('');
  /** What it would take. */
  readonly fit: Question<FitReport>;
  /** What a switch to it would do, or why it would be refused. */
  readonly plan: Question<SwitchReport>;
  readonly #model: ModelView;

  constructor(store: Store, model: ModelView) {
    this.#model = model;
    this.fit = new Question(
      (call) => store.call(call),
      (reply) => expectReply(reply, 'fit').report,
    );
    this.plan = new Question(
      (call) => store.call(call),
      (reply) => expectReply(reply, 'switch').report,
    );
  }

  /** What is left out is as its server loads it. */
  get settings(): LoadSettings {
    const { context, parallel, kv_type } = this.#typed();
    return {
      ...(context !== undefined && { context }),
      ...(parallel !== undefined && { parallel }),
      ...(kv_type !== undefined && { kv_type }),
    };
  }

  get wrongs(): Wrongs {
    const typed = this.#typed();
    const wrongs = wrongSettings(typed);
    const most = this.#model.context_max;
    if (wrongs.context === undefined && typed.context !== undefined && most !== null && typed.context > most)
      wrongs.context = words.trainedFor(most);
    return wrongs;
  }

  get isSound(): boolean {
    return Object.keys(this.wrongs).length === 0;
  }

  /** An offer is taken. */
  take({ context, parallel, kv }: Partial<Wish>): void {
    if (context !== undefined) this.context = context === null ? '' : String(context);
    if (parallel !== undefined) this.parallel = parallel === null ? '' : String(parallel);
    if (kv !== undefined) this.kv = kvTypes.find((one) => one === kv) ?? '';
  }

  /** Asks once the hand rests; what cannot be typed so is not asked about. */
  ask(rest?: number): void {
    if (!this.isSound) return this.#clear();
    const { server, id } = this.#model;
    const { kv_type: kv, ...numbers } = this.settings;
    this.fit.ask({ call: 'fit', models: [id], server, ...numbers, ...(kv !== undefined && { kv }) }, rest);
    this.plan.ask({ call: 'switch', model: id, server, dry_run: true, now: false, with: this.settings }, rest);
  }

  close(): void {
    this.fit.close();
    this.plan.close();
  }

  #clear(): void {
    this.fit.clear();
    this.plan.clear();
  }

  #typed() {
    const { server, name: model } = this.#model;
    return settingsOf({ ...emptyRole(''), server, model, context: this.context, parallel: this.parallel, kv: this.kv });
  }
}
