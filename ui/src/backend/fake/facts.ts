/** What the simulated past says of each model: for development and tests, never in a production build. Load times and moments are invented. */
import type { ModelFacts } from '../../api/ModelFacts';
import type { PastSwitch } from '../../api/PastSwitch';
import type { Run } from '../../api/Run';
import type { Snapshot } from '../../api/Snapshot';
import { forecastOf } from './memory';
import type { Scene } from './scene-names';

const PLANS = ['quick', 'standard', 'ab'];
const HOUR = 3_600_000;

/** `runs`: newest first. */
export function factsOf(snapshot: Snapshot, runs: readonly Run[], scene: Scene, now: number): ModelFacts[] {
  return snapshot.models.map((model, index) => {
    const run = runs.find(
      (one) =>
        one.state === 'done' &&
        PLANS.includes(one.plan.name) &&
        one.server === model.server &&
        one.model === model.name &&
        one.decode_tok_s !== null,
    );
    const measurable = model.purpose === 'llm' && !model.damaged;
    const weights = model.size_bytes ?? 0;
    const base = 300 + (weights / 1e9) * 480;
    const seen = measurable && (model.loaded || index % 3 === 0);
    return {
      id: model.id,
      speed:
        run?.decode_tok_s == null
          ? null
          : {
              run_id: run.run_id,
              at: run.started_at,
              plan: run.plan.name,
              decode_tok_s: run.decode_tok_s,
              disturbed: run.disturbed.length > 0,
            },
      forecast: run === undefined && measurable && weights > 0 ? forecastOf(scene, weights) : null,
      loads_ms: seen ? [1, 1.06, 0.94, 1.21].slice(0, 1 + (index % 4)).map((factor) => Math.round(base * factor)) : [],
      measured_loads: null,
      last_used_at: seen || run !== undefined ? new Date(now - (index * 7 + 1) * HOUR).toISOString() : null,
    };
  });
}

/** The active model became it a few minutes ago. */
export function pastSwitches(snapshot: Snapshot, now: number): PastSwitch[] {
  const { active } = snapshot;
  if (active === null) return [];
  return [
    {
      started_at: new Date(now - 5 * 60_000).toISOString(),
      switch_id: 1,
      from: null,
      to: { server: active.server, model: active.model },
      outcome: 'committed',
      dry_run: false,
      took_ms: 2400,
      load_ms: 2300,
      first_token_ms: 41,
      steps: [],
      answers_cut: 0,
      journalled: true,
      reason: null,
      error: null,
    },
  ];
}
