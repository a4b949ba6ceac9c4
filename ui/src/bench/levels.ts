/** What of the trends is worth a line: what is worse now, and where a level changed. */
import type { Snapshot } from '../api/Snapshot';
import type { Trend } from '../api/Trend';
import { modelTitle, serverTitle } from '../models';
import { bench } from '../text';

export interface Level {
  key: string;
  /** The first run of the level. */
  runId: number;
  title: string;
  words: string;
  /** It is worse than before, confirmed, and nobody has accepted it. */
  worse: boolean;
}

export function levelsOf(trends: Trend[], snapshot: Snapshot | null): Level[] {
  return trends.flatMap((trend) => {
    const title = bench.runTitle(
      modelTitle(snapshot?.models ?? [], trend),
      serverTitle(snapshot?.servers ?? [], trend.server),
    );
    const key = (kind: string, run: number) =>
      `${kind} ${trend.server} ${trend.model} ${trend.plan} ${trend.metric} ${run}`;
    const { state, since_run, words } = trend.watch;
    const confirmed = state === 'confirmed' && since_run !== null;
    const now: Level[] = confirmed ? [{ key: key('now', since_run), runId: since_run, title, words, worse: true }] : [];
    const changes = trend.change_points.map((change) => ({
      key: key('change', change.run_id),
      runId: change.run_id,
      title,
      words: change.words,
      worse: false,
    }));
    return [...now, ...changes];
  });
}
