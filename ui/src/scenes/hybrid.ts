/** The scene that most people with two servers want: what must be quick on the one, what may wait on the other. */
import type { ModelView } from '../api/ModelView';
import type { Snapshot } from '../api/Snapshot';
import { draftOf, type Draft } from './draft';

const isUp = (snapshot: Snapshot, id: string) =>
  snapshot.servers.some((one) => one.id === id && (one.state === 'ready' || one.state === 'degraded'));

const answers = (model: ModelView) => model.purpose === 'llm' && !model.damaged;

function smallest(models: readonly ModelView[]): ModelView | undefined {
  const known = models.filter((one) => one.size_bytes !== null);
  return known.reduce<ModelView | undefined>(
    (best, one) => (best === undefined || (one.size_bytes ?? 0) < (best.size_bytes ?? 0) ? one : best),
    undefined,
  );
}

/** Unsaved; null: there are not two servers with models for it. */
export function hybridOf(snapshot: Snapshot, name: string): Draft | null {
  const on = (server: string) =>
    isUp(snapshot, server) ? snapshot.models.filter((one) => one.server === server && answers(one)) : [];
  const background = smallest(on('ollama'));
  const { active } = snapshot;
  const title = snapshot.models.find((one) => one.server === active?.server && one.name === active.model)?.title;
  for (const server of ['lmstudio', 'llama-server']) {
    const models = on(server);
    const same = models.find((one) => one.server === active?.server && one.name === active.model);
    const critical = same ?? models.find((one) => one.title === title) ?? smallest(models);
    const other = active !== null && active.server !== server && isUp(snapshot, active.server);
    // The server that has the active model comes before the other one.
    if (critical === undefined || (same === undefined && server === 'lmstudio' && other && active.server !== 'ollama'))
      continue;
    if (background === undefined) return null;
    return draftOf(name, {
      critical: { server, model: critical.name, pinned: true, priority: 'critical' },
      background: {
        ...{ server: 'ollama', model: background.name, pinned: false },
        ...{ priority: 'background', idle_s: 1800 },
      },
    });
  }
  return null;
}
