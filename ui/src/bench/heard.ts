/** What is heard of a benchmark: few words for long work. What is seen beside it changes with every answer. */
import type { BenchProgress } from '../api/BenchProgress';
import type { ModelView } from '../api/ModelView';
import type { Run } from '../api/Run';
import { dotted, duration, tokensPerSecond } from '../format';
import { modelTitle } from '../models';
import { bench as words } from '../text';
import { disturbers, markOf } from './disturbance';

/** So many parts of long work are told of. */
const PARTS = 4;

/** The step at which the part began that the one under way belongs to; both from 1. */
function begun(step: number, of: number): number {
  const part = Math.floor((PARTS * (step - 1)) / Math.max(1, of));
  return Math.ceil((part * of) / PARTS) + 1;
}

export function progressHeard(progress: BenchProgress): string {
  const { waits_for, phase, block, turn, concurrency, done, total } = progress;
  if (waits_for.length > 0) return words.waitsFor(disturbers(waits_for).join(', '));
  if (phase === 'warmup') return words.warmingUp;
  if (block !== null) return words.blockOf(begun(...block), block[1]);
  if (turn !== null) return words.turnOf(begun(...turn), turn[1]);
  if (concurrency !== null) return words.atATime(concurrency);
  return words.trial(begun(Math.min(done + 1, total), total), total);
}

/** How it ended, with the figures that matter most and what is known against them. */
export function endHeard(run: Run, models: ModelView[]): string {
  const title = modelTitle(models, run);
  if (run.state === 'cancelled') return words.cancelledHeard(title);
  if (run.state !== 'done') return words.endedHeard(title);
  const figures = dotted(
    run.decode_tok_s && tokensPerSecond(run.decode_tok_s.median),
    run.ttft_ms && words.firstAfter(duration(run.ttft_ms.median)),
    markOf(run),
  ).replaceAll(' · ', ', ');
  return words.measured(figures === '' ? title : `${title}: ${figures}`);
}
