/** What people do with the memory besides switching: scenes, unloading, pins, and taking the last change back. What becomes of it
 * stands in the snapshot; what came of the click is said where it was made. */
import type { ApiError } from './api/ApiError';
import type { Call } from './api/Call';
import type { Instance } from './api/Instance';
import type { ModelRef } from './api/ModelRef';
import type { Reply } from './api/Reply';
import type { RoleSettings } from './api/RoleSettings';
import type { SceneReport } from './api/SceneReport';
import { asApiError, expectReply } from './backend/backend';
import { duration } from './format';
import { modelId } from './models';
import { FREE_MEMORY } from './scenes/rules';
import { acts as words, scenes } from './text';

/** The page on which it was asked for. */
export type Place = 'now' | 'models' | 'scenes';

export interface Said {
  place: Place;
  text: string;
  error: ApiError | null;
  /** A scene that was put back, or not all of what was asked for. */
  attention: boolean;
}

export class Acts {
  said = $state.raw<Said | null>(null);
  /** What was asked for and has not been answered yet: a model's id, or the name of a scene. */
  under = $state<string | null>(null);
  readonly #call: (call: Call) => Promise<Reply>;
  #asked = 0;

  constructor(call: (call: Call) => Promise<Reply>) {
    this.#call = call;
  }

  unload(ref: ModelRef, title: string, place: Place = 'models'): Promise<boolean> {
    const call: Call = { call: 'unload', model: modelId(ref), server: ref.server, now: false, dry_run: false };
    return this.#do(place, modelId(ref), async () => {
      const { deactivated, answers_cut } = expectReply(await this.#call(call), 'unloaded');
      const text = deactivated === null ? words.unloaded(title) : words.deactivated(title);
      return { text: withCut(text, answers_cut) };
    });
  }

  /** One copy of a model; another one answers on. */
  unloadCopy({ server, model, id }: Instance, place: Place = 'models'): Promise<boolean> {
    return this.#do(place, modelId({ server, model }), async () => {
      const { answers_cut } = expectReply(await this.#call({ call: 'unload_copy', server, instance: id }), 'unloaded');
      return { text: withCut(words.unloaded(id), answers_cut) };
    });
  }

  pin(ref: ModelRef, title: string, pinned: boolean, place: Place = 'models'): Promise<boolean> {
    return this.#do(place, modelId(ref), async () => {
      await this.#call({ call: 'pin', model: modelId(ref), server: ref.server, pinned });
      return { text: pinned ? words.pinned(title) : words.unpinned(title) };
    });
  }

  undo(place: Place): Promise<boolean> {
    return this.#do(place, null, async () => {
      const reply = await this.#call({ call: 'undo' });
      // A switch back says so itself, as any other.
      if (reply.reply === 'switch' && place !== 'scenes') return null;
      if ((reply.reply !== 'scene' && reply.reply !== 'switch') || reply.report.outcome === 'committed')
        return { text: words.undone };
      const { reason, error } = reply.report;
      const why = [words.notUndone, reason ?? error?.message, error?.hint].filter(Boolean).join(' ');
      return { text: why, attention: true };
    });
  }

  /** `roles`: instead of those that are saved. `unload`: what has to leave first, as the engine has offered; what is pinned is let
   * go of before. */
  applyScene(
    name: string,
    roles?: Record<string, RoleSettings>,
    unload: ModelRef | null = null,
    pinned = false,
  ): Promise<boolean> {
    return this.#do('scenes', name, async () => {
      if (unload !== null && pinned)
        await this.#call({ call: 'pin', model: modelId(unload), server: unload.server, pinned: false });
      if (unload !== null)
        await this.#call({
          ...{ call: 'unload', model: modelId(unload), server: unload.server },
          ...{ now: false, dry_run: false },
        });
      const call: Call = { call: 'apply_scene', name, dry_run: false, now: false, ...(roles && { roles }) };
      return saidOf(name, expectReply(await this.#call(call), 'scene').report);
    });
  }

  cancel(): void {
    void this.#call({ call: 'cancel_switch' }).catch(() => undefined);
  }

  say(place: Place, text: string): void {
    this.said = { place, text, error: null, attention: false };
  }

  fail(place: Place, error: ApiError): void {
    this.said = { place, text: '', error, attention: true };
  }

  async #do(
    place: Place,
    what: string | null,
    act: () => Promise<{ text: string; attention?: boolean } | null>,
  ): Promise<boolean> {
    const asked = ++this.#asked;
    this.under = what;
    this.said = null;
    try {
      const came = await act();
      // A later click has said what it came to.
      if (asked === this.#asked && came !== null)
        this.said = { place, text: came.text, error: null, attention: came.attention ?? false };
      return came?.attention !== true;
    } catch (failure) {
      if (asked === this.#asked) this.fail(place, asApiError(failure));
      return false;
    } finally {
      if (asked === this.#asked) this.under = null;
    }
  }
}

const withCut = (text: string, cut: number) => (cut === 0 ? text : `${text} ${scenes.foot.cut(cut)}`);

function saidOf(name: string, report: SceneReport): { text: string; attention?: boolean } {
  const { foot } = scenes;
  if (report.outcome === 'committed') {
    const time = duration(report.took_ms);
    return { text: withCut(name === FREE_MEMORY ? foot.freed(time) : foot.done(name, time), report.answers_cut) };
  }
  if (report.outcome === 'cancelled') return { text: withCut(foot.cancelled, report.answers_cut), attention: true };
  const why = [report.reason ?? report.error?.message, report.error?.hint].filter(Boolean).join(' ');
  return { text: withCut(`${foot.putBack} ${why}`, report.answers_cut), attention: true };
}
