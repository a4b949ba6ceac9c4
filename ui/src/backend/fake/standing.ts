/** What holds, as the engine says it (its `domain::standing`), for snapshots that were made up here. */
import type { ActiveStanding } from '../../api/ActiveStanding';
import type { ModelView } from '../../api/ModelView';
import type { RowAct } from '../../api/RowAct';
import type { ServerState } from '../../api/ServerState';
import type { ServerView } from '../../api/ServerView';
import type { Snapshot } from '../../api/Snapshot';
import type { Standing } from '../../api/Standing';
import type { Tone } from '../../api/Tone';

const servers: Record<ServerState, [Tone, string]> = {
  not_installed: ['idle', 'Not installed'],
  stopped: ['idle', 'Stopped'],
  starting: ['busy', 'Starting'],
  ready: ['good', 'Ready'],
  degraded: ['attention', 'Ready with trouble'],
  stopping: ['busy', 'Stopping'],
  failed: ['broken', 'Failed'],
  gave_up: ['broken', 'Gave up restarting'],
  not_ours: ['attention', 'Address held by another program'],
};

/** The snapshot with all that holds said in it. */
export function withStanding(snapshot: Snapshot, answering = 0): Snapshot {
  const told = { ...snapshot, servers: snapshot.servers.map(withServer) };
  told.standing = { ...head(told, answering), answering };
  told.models = told.models.map((model) => ({ ...model, standing: row(model, told) }));
  return told;
}

function withServer(server: ServerView): ServerView {
  const [tone, word] = servers[server.state];
  const missed = server.state === 'failed' && server.ownership === 'remote';
  return { ...server, standing: { tone, word: missed ? 'Not reached' : word } };
}

const none: ActiveStanding = {
  holds: 'no_model',
  tone: 'idle',
  word: 'No active model',
  reason: null,
  act: 'none',
  answering: 0,
  waiting: 0,
  first: null,
};

function head(snapshot: Snapshot, answering: number): ActiveStanding {
  const { active, switching } = snapshot;
  const first = switching === null ? null : waitsFor(snapshot, switching.to);
  if (active === null) return { ...none, first };
  const server = snapshot.servers.find((one) => one.id === active.server);
  const told = (change: Partial<ActiveStanding>): ActiveStanding => ({ ...none, first, ...change });
  if (switching !== null && switching.to.server === active.server && switching.to.model === active.model)
    return told({ holds: 'loading', tone: 'busy', word: 'Loading', act: 'cancel' });
  if (server === undefined) return told({ holds: 'cannot_answer', tone: 'broken', word: 'Cannot answer' });
  if (!isUp(server)) {
    const act = canBeStarted(server) ? 'start_and_load' : 'none';
    const starts = `Starts ${server.title} and loads ${title(snapshot, active)} first; the load takes about 4 s.`;
    return told({
      holds: server.state === 'starting' ? 'starting' : 'stopped',
      ...server.standing,
      reason: server.reason,
      act,
      first: first ?? (act === 'none' ? null : starts),
    });
  }
  if (snapshot.active_absent)
    return told({
      holds: 'cannot_answer',
      tone: 'attention',
      word: 'Cannot answer',
      reason: snapshot.active_absent,
      act: 'load',
    });
  if (server.state === 'degraded')
    return told({ holds: 'disturbed', tone: 'attention', word: 'Ready with trouble', reason: server.reason });
  const { bench } = snapshot;
  if (bench !== null && bench.server === active.server && bench.model === active.model)
    return told({ holds: 'measuring', tone: 'busy', word: 'Measuring' });
  if (answering > 0)
    return told({ holds: 'answering', tone: 'busy', word: answering === 1 ? 'Answering' : `Answering ${answering}` });
  return told({ holds: 'ready', tone: 'good', word: 'Ready' });
}

function waitsFor(snapshot: Snapshot, to: { server: string; model: string }): string {
  const { active } = snapshot;
  const isIt = active?.server === to.server && active.model === to.model;
  return isIt ? `Waits until ${title(snapshot, to)} is loaded.` : `Waits for the switch to ${title(snapshot, to)}.`;
}

function row(model: ModelView, snapshot: Snapshot): Standing {
  const told = (holds: Standing['holds'], tone: Tone, word: string, act: RowAct, reason: string | null = null) => ({
    holds,
    tone,
    word,
    reason,
    act,
  });
  if (model.damaged) return told('damaged', 'broken', 'damaged', 'none', model.damaged);
  if (model.purpose !== 'llm') return told('other', 'idle', model.loaded ? 'loaded' : 'on disk', 'none');
  const { standing, switching, last_switch } = snapshot;
  const isIt = (ref: { server: string; model: string } | undefined) =>
    ref?.server === model.server && ref.model === model.name;
  if (isIt(switching?.to)) return told('loading', 'busy', switching?.phase.replace('_', ' ') ?? '', 'cancel');
  if (model.active) {
    const answers = ['ready', 'answering', 'measuring'].includes(standing.holds);
    const word = answers
      ? 'active'
      : standing.holds === 'disturbed'
        ? 'active, with trouble'
        : standing.word.charAt(0).toLowerCase() + standing.word.slice(1);
    return told(standing.holds, answers ? 'good' : standing.tone, word, standing.act, standing.reason);
  }
  if (last_switch?.outcome === 'rolled_back' && isIt(last_switch.to) && !model.loaded)
    return told('failed', 'attention', 'could not be made active', 'switch', last_switch.reason);
  const server = snapshot.servers.find((one) => one.id === model.server);
  if (server && !isUp(server) && canBeStarted(server)) return told('on_disk', 'idle', 'on disk', 'start_and_load');
  if (model.loaded) return told('loaded', 'idle', 'loaded', 'switch');
  if (model.fits === false) return told('does_not_fit', 'attention', 'does not fit', 'switch', model.fits_reason);
  return told('on_disk', 'idle', 'on disk', 'switch');
}

function title(snapshot: Snapshot, ref: { server: string; model: string }): string {
  const found = snapshot.models.find((model) => model.server === ref.server && model.name === ref.model);
  return found?.title ?? ref.model;
}

const isUp = (server: ServerView) => server.state === 'ready' || server.state === 'degraded';

const canBeStarted = (server: ServerView) =>
  server.abilities.start &&
  server.ownership !== 'remote' &&
  ['stopped', 'failed', 'gave_up', 'not_ours'].includes(server.state);
