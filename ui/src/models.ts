/** Pure questions about models in a snapshot. */
import type { ModelRef } from './api/ModelRef';
import type { ModelView } from './api/ModelView';
import type { ServerView } from './api/ServerView';
import type { Snapshot } from './api/Snapshot';

/** The models of one server, in a fixed order. */
export interface ModelGroup {
  server: string;
  title: string;
  models: ModelView[];
}

/** The form in which calls and addresses name a model. */
export function modelId(ref: ModelRef): string {
  return `${ref.server}/${ref.model}`;
}

/** The server's name as people read it; its id when the snapshot does not have it. */
export function serverTitle(servers: ServerView[], id: string): string {
  return servers.find((server) => server.id === id)?.title ?? id;
}

/** The model's name as people read it; its own name when the snapshot does not have it. */
export function modelTitle(models: ModelView[], ref: ModelRef): string {
  return findModel(models, ref)?.title ?? ref.model;
}

export function findModel(models: ModelView[], ref: ModelRef): ModelView | undefined {
  return models.find((model) => model.server === ref.server && model.name === ref.model);
}

/** Every word of the filter must occur in what the row shows. */
export function matches(model: ModelView, server: string, filter: string): boolean {
  const text = [model.title, model.name, server, model.quantization, model.parameters].join(' ').toLocaleLowerCase();
  return filter
    .toLocaleLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

/**
 * Groups the models that can become active by server. The order depends on names only, never on what is loaded or
 * active, so that no row moves under the pointer.
 */
export function groups(snapshot: Snapshot, filter: string): ModelGroup[] {
  const order = new Map(snapshot.servers.map((server, index) => [server.id, index]));
  const byServer = new Map<string, ModelView[]>();
  for (const model of snapshot.models) {
    const title = serverTitle(snapshot.servers, model.server);
    if (model.purpose !== 'llm' || !matches(model, title, filter.trim())) continue;
    byServer.set(model.server, [...(byServer.get(model.server) ?? []), model]);
  }
  return [...byServer]
    .sort(([a], [b]) => (order.get(a) ?? Infinity) - (order.get(b) ?? Infinity) || a.localeCompare(b))
    .map(([server, models]) => ({
      server,
      title: serverTitle(snapshot.servers, server),
      models: models.sort((a, b) => a.title.localeCompare(b.title) || a.name.localeCompare(b.name)),
    }));
}

/** Whether the first start's question is to be shown: nothing here can answer. */
export function nothingCanAnswer(snapshot: Snapshot): boolean {
  const llms = snapshot.models.filter((model) => model.purpose === 'llm');
  const { setup } = snapshot;
  return llms.length === 0 && (!setup.server_present || !setup.model_present || setup.progress !== null);
}
