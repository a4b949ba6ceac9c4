/** What holds, as the engine says it (its `domain::standing`), for snapshots that were made up here. The engine's own cases, in
 * `api/standing-cases.json`, are played by a test: what is said here is what it says. */
import type { ActiveStanding } from '../../api/ActiveStanding';
import type { ModelRef } from '../../api/ModelRef';
import type { ModelView } from '../../api/ModelView';
import type { RowAct } from '../../api/RowAct';
import type { ServerState } from '../../api/ServerState';
import type { ServerView } from '../../api/ServerView';
import type { Snapshot } from '../../api/Snapshot';
import type { Standing } from '../../api/Standing';
import type { SwitchPhase } from '../../api/SwitchPhase';
import type { Tone } from '../../api/Tone';
import { failureOf } from './last-switch';

/** What the snapshot itself does not say. */
export interface Circumstances {
  /** Answers of the active model that are under way. */
  answering: number;
  /** Requests that wait. */
  waiting: number;
  /** Requests for the active model are held until a switch or a measurement has ended. */
  held: boolean;
  /** Seconds that the last loads of a model took, by `<server>/<name>`. */
  load_s: Record<string, number>;
}

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

const phases: Record<SwitchPhase, string> = {
  preparing: 'preparing',
  draining: 'waiting for answers to end',
  unloading: 'unloading',
  loading: 'loading',
  proving: 'asking for a first token',
  committing: 'making it active',
  putting_back: 'putting back',
};

/** The snapshot with all that holds said in it. */
export function withStanding(snapshot: Snapshot, circumstances: Partial<Circumstances> = {}): Snapshot {
  const told = { ...snapshot, servers: snapshot.servers.map(withServer) };
  told.standing = head(told, { answering: 0, waiting: 0, held: false, load_s: {}, ...circumstances });
  told.models = told.models.map((model) => ({ ...model, standing: row(model, told) }));
  return told;
}

function withServer(server: ServerView): ServerView {
  const [tone, word] = servers[server.state];
  const missed = server.state === 'failed' && server.ownership === 'remote';
  return { ...server, standing: { tone, word: missed ? 'Not reached' : word } };
}

/** What of a standing the head's own rules say. */
type Told = Pick<ActiveStanding, 'holds' | 'tone' | 'word' | 'reason' | 'act'>;

function told(holds: Told['holds'], tone: Tone, word: string, more: Partial<Told> = {}): Told {
  return { holds, tone, word, reason: null, act: 'none', ...more };
}

function head(snapshot: Snapshot, circumstances: Circumstances): ActiveStanding {
  const { answering, waiting, held } = circumstances;
  const { active } = snapshot;
  if (active === null) {
    const none = told('no_model', 'idle', 'No active model');
    return { ...none, answering, waiting, first: behindSwitch(snapshot) };
  }
  const waits = held ? 'Requests wait until a measurement has ended.' : null;
  const standing =
    switched(snapshot, active, held) ??
    down(serverOf(snapshot, active)) ??
    (waits ? told('waiting', 'waiting', 'Waiting', { reason: waits }) : up(snapshot, active, answering));
  return { ...standing, answering, waiting, first: first(snapshot, active, standing.act, circumstances) };
}

/** What a switch under way means for what is active; null: nothing yet. */
function switched(snapshot: Snapshot, active: ModelRef, held: boolean): Told | null {
  const { switching } = snapshot;
  if (switching === null) return null;
  const puttingBack = told('putting_back', 'busy', 'Putting back');
  if (isSame(switching.to, active)) {
    const server = serverOf(snapshot, active);
    if (switching.phase === 'preparing' && !(server && isUp(server)))
      return told('starting', 'busy', 'Starting its server', { act: 'cancel' });
    if (switching.phase === 'putting_back') return { ...puttingBack, act: 'cancel' };
    return told('loading', 'busy', 'Loading', { act: 'cancel' });
  }
  if (!held) return null;
  if (switching.phase === 'putting_back') return puttingBack;
  const reason = `Requests wait until ${title(snapshot, switching.to)} answers.`;
  return told('waiting', 'waiting', 'Waiting', { reason });
}

/** Its server does not answer at all; null: it does. */
function down(server: ServerView | undefined): Told | null {
  if (server === undefined)
    return told('cannot_answer', 'broken', 'Cannot answer', { reason: 'Its server is not in the settings any more.' });
  if (isUp(server)) return null;
  const holds = server.state === 'starting' ? 'starting' : 'stopped';
  const { tone, word } = server.standing;
  return told(holds, tone, word, { reason: server.reason, act: canBeStarted(server) ? 'start_and_load' : 'none' });
}

/** Its server answers. */
function up(snapshot: Snapshot, active: NonNullable<Snapshot['active']>, answering: number): Told {
  if (snapshot.active_absent)
    return told('cannot_answer', 'attention', 'Cannot answer', { reason: snapshot.active_absent, act: 'load' });
  const server = serverOf(snapshot, active);
  const inMemory = snapshot.instances.some((one) => one.server === active.server && one.id === active.instance);
  if (server?.ownership !== 'remote' && !inMemory) return told('not_loaded', 'idle', 'Not loaded', { act: 'load' });
  if (server?.state === 'degraded')
    return told('disturbed', 'attention', 'Ready with trouble', { reason: server.reason });
  if (snapshot.bench !== null && isSame(snapshot.bench, active)) return told('measuring', 'busy', 'Measuring');
  if (answering > 0) return told('answering', 'busy', answering === 1 ? 'Answering' : `Answering ${answering}`);
  return told('ready', 'good', 'Ready');
}

/** What a question has to wait for. */
function first(snapshot: Snapshot, active: ModelRef, act: RowAct, { load_s }: Circumstances): string | null {
  if (snapshot.switching !== null) return behindSwitch(snapshot);
  const known = load_s[`${active.server}/${active.model}`];
  const takes = known === undefined ? '' : `; the load takes ${about(known)}`;
  const name = title(snapshot, active);
  if (act === 'load') return `Loads ${name} first${takes}.`;
  const server = serverOf(snapshot, active)?.title ?? active.server;
  return act === 'start_and_load' ? `Starts ${server} and loads ${name} first${takes}.` : null;
}

/** A question waits for the switch under way. */
function behindSwitch(snapshot: Snapshot): string | null {
  const { switching, active } = snapshot;
  if (switching === null) return null;
  const name = title(snapshot, switching.to);
  const left = switching.eta_s === null ? '' : `, ${about(switching.eta_s)}`;
  const again = active !== null && isSame(switching.to, active);
  return again ? `Waits until ${name} is loaded${left}.` : `Waits for the switch to ${name}${left}.`;
}

function row(model: ModelView, snapshot: Snapshot): Standing {
  const { standing, switching } = snapshot;
  const ref = { server: model.server, model: model.name };
  if (model.damaged) return told('damaged', 'broken', 'damaged', { reason: model.damaged });
  if (model.purpose !== 'llm') return told('other', 'idle', model.loaded ? 'loaded' : 'on disk');
  if (switching !== null && isSame(switching.to, ref)) {
    const holds = switching.phase === 'putting_back' ? 'putting_back' : 'loading';
    return told(holds, 'busy', phases[switching.phase], { act: 'cancel' });
  }
  if (model.active) return rowOfActive(standing);
  const failed = failureOf(snapshot, ref);
  if (failed !== null)
    return told('failed', 'attention', 'could not be made active', { reason: failed, act: 'switch' });
  const server = snapshot.servers.find((one) => one.id === model.server);
  if (server && !isUp(server)) {
    if (canBeStarted(server)) return told('on_disk', 'idle', 'on disk', { act: 'start_and_load' });
    return told('on_disk', 'idle', inALine(server.standing.word), { reason: server.reason, act: 'switch' });
  }
  if (model.loaded) return told('loaded', 'idle', 'loaded', { act: 'switch' });
  if (server?.ownership === 'remote' && server.pid === null) return told('remote', 'idle', '', { act: 'switch' });
  if (model.fits === false)
    return told('does_not_fit', 'attention', 'does not fit', { reason: model.fits_reason, act: 'switch' });
  return told('on_disk', 'idle', 'on disk', { act: 'switch' });
}

/** The row of the active model says what the head says, in the middle of a line. */
function rowOfActive({ holds, tone, word, reason, act }: ActiveStanding): Standing {
  const answers = ['ready', 'answering', 'measuring', 'waiting'].includes(holds);
  const said = answers ? 'active' : holds === 'disturbed' ? 'active, with trouble' : inALine(word);
  // What its answers do is said in the head; here it is what answers.
  return told(holds, holds === 'answering' || holds === 'measuring' ? 'good' : tone, said, { reason, act });
}

function title(snapshot: Snapshot, ref: ModelRef): string {
  return snapshot.models.find((one) => one.server === ref.server && one.name === ref.model)?.title ?? ref.model;
}

/** Seconds as people say them of something to come. */
function about(seconds: number): string {
  const whole = Math.round(Math.max(1, seconds));
  if (whole < 90) return `about ${whole} s`;
  const minutes = Math.floor(whole / 60);
  // A half goes to the even one, as the engine writes it.
  const up = whole % 60 > 30 || (whole % 60 === 30 && minutes % 2 === 1);
  return `about ${up ? minutes + 1 : minutes} min`;
}

const serverOf = (snapshot: Snapshot, ref: ModelRef) => snapshot.servers.find((one) => one.id === ref.server);

const isSame = (one: ModelRef, other: ModelRef) => one.server === other.server && one.model === other.model;

const inALine = (word: string) => word.charAt(0).toLowerCase() + word.slice(1);

const isUp = (server: ServerView) => server.state === 'ready' || server.state === 'degraded';

const canBeStarted = (server: ServerView) =>
  server.abilities.start &&
  server.ownership !== 'remote' &&
  ['stopped', 'failed', 'gave_up', 'not_ours'].includes(server.state);
