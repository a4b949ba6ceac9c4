/** What came of a switch, in words. */
import type { ModelRef } from './api/ModelRef';
import type { Snapshot } from './api/Snapshot';
import type { SwitchReport } from './api/SwitchReport';
import { modelTitle } from './models';
import { now as words } from './text';

export interface SwitchEnd {
  text: string;
  hint: string | null;
}

/** Standings in which the active model answers, if slowly. */
const ANSWERS = ['ready', 'answering', 'measuring', 'disturbed'];

/** Null: it went well and cost nobody an answer; the head shows what is active. */
export function switchEnd(report: SwitchReport, snapshot: Snapshot): SwitchEnd | null {
  const name = (ref: ModelRef) => modelTitle(snapshot.models, ref);
  if (report.outcome === 'rolled_back') {
    const reason = report.reason ?? report.error?.message ?? '';
    const hint = report.error?.hint ?? null;
    // What does not answer was not put back: it is only still the choice.
    if (report.from && !ANSWERS.includes(snapshot.standing.holds))
      return { text: words.notActive(name(report.to), reason), hint };
    return { text: words.putBack(report.from ? name(report.from) : null, reason), hint };
  }
  // It went well, at the cost of answers that somebody was waiting for.
  if (report.answers_cut > 0) return { text: report.reason ?? '', hint: null };
  return report.outcome === 'cancelled' ? { text: words.switchCancelled(name(report.to)), hint: null } : null;
}
