/** A simulated engine: for development and tests, never in a production build. It touches no browser API. */
import type { Call } from '../../api/Call';
import type { LoadSettings } from '../../api/LoadSettings';
import type { LogLine } from '../../api/LogLine';
import type { Notice } from '../../api/Notice';
import type { Reply } from '../../api/Reply';
import type { ServerView } from '../../api/ServerView';
import type { Snapshot } from '../../api/Snapshot';
import type { SwitchOutcome } from '../../api/SwitchOutcome';
import type { SwitchPhase } from '../../api/SwitchPhase';
import type { Backend } from '../backend';
import { eventsOf } from './events';
import { FakeAnswers } from './answers';
import { FakeClientKeys } from './client-keys';
import { FakeApps } from './connect';
import { factsOf, pastSwitches } from './facts';
import { fault, sleep } from './fault';
import { Pace } from './pace';
import { historyUntil } from './history';
import { fitOf, instancesOf, ledgerOf, machineOf, togetherOf } from './memory';
import type { Host } from './host';
import { FakeLab } from './lab';
import { FakeResidency } from './residency';
import { inForceOf, scenesOf } from './roles';
import { hasMany, type Scene } from './scene-names';
import { gaugesAt, initialSnapshot, logLines } from './scenes';
import { FakeParts } from './parts';
import { FakeSettings, tables } from './settings';
import { withStanding } from './standing';
import { FakeTraffic } from './traffic';

/** Between two samples of the gauges. */
const SAMPLE_MS = 1000;
const PHASES: SwitchPhase[] = [
  'preparing',
  'draining',
  'loading',
  'loading',
  'loading',
  'loading',
  'proving',
  'committing',
];

export class FakeBackend implements Backend, Host {
  #snapshot: Snapshot;
  readonly clientKeys = new FakeClientKeys(Date.now());
  readonly apps = new FakeApps({
    required: () => this.clientKeys.required,
    ollamaPort: () => Number(this.settings.valueOf('gateway.ollama_port')),
  });
  readonly traffic: FakeTraffic;
  readonly #lab: FakeLab;
  #switch = 0;
  #setup = 0;
  readonly settings: FakeSettings;
  readonly residency: FakeResidency;
  readonly #parts = new FakeParts();
  #sampledAt = 0;
  readonly #startedAt = Date.now();
  readonly #answers: FakeAnswers;

  readonly pace: Pace;

  /** `step`: milliseconds that each simulated step takes at least. */
  constructor(
    readonly scene: Scene = 'ready',
    readonly step = 350,
  ) {
    this.traffic = new FakeTraffic(scene);
    this.#snapshot = initialSnapshot(scene, Date.now());
    const scenes = scenesOf(scene, this.#snapshot.models);
    this.settings = new FakeSettings({
      'gateway.queue': 128,
      'servers.ollama.max_models': 3,
      ...(hasMany(scene) && tables),
      ...(inForceOf(scene) !== null && { scenes, 'gateway.aliases': { 'gpt-4o-mini': 'small' } }),
    });
    this.residency = new FakeResidency(this, inForceOf(scene));
    this.#lab = new FakeLab(this);
    this.#answers = new FakeAnswers(step);
    this.pace = new Pace(step);
  }

  async call(call: Call): Promise<Reply> {
    if (this.scene === 'unauthorized') throw fault('unauthorized', 'This address has no valid token.');
    await sleep(Math.min(8, this.step));
    switch (call.call) {
      case 'snapshot':
        return this.#current(call);
      case 'refresh':
        return { reply: 'snapshot', snapshot: this.#snapshot };
      case 'discover':
        return { reply: 'discovered', servers: [] };
      case 'add_server':
      case 'locate_server':
      case 'remove_server':
      case 'end_orphans':
        return { reply: 'done' };
      case 'search_logs':
        return {
          reply: 'log_matches',
          matches: logLines(call.server, Date.now() - 86_400_000).filter((line) =>
            line.line.toLocaleLowerCase().includes(call.text.toLocaleLowerCase()),
          ),
        };
      case 'check_server':
        await this.go();
        return {
          reply: 'doctor',
          checks: [
            { name: 'port', result: 'ok', detail: '127.0.0.1:11434 takes connections', hint: null },
            { name: 'API', result: 'ok', detail: 'answers', hint: null },
            { name: 'token', result: 'ok', detail: 'llama3.1:8b gave one after 84 ms', hint: null },
          ],
        };
      case 'take_over':
        return this.#operate(call.server, 'restart_server');
      case 'start_server':
      case 'stop_server':
      case 'restart_server':
        return this.#operate(call.server, call.call);
      case 'switch':
        return call.with === undefined
          ? this.#doSwitch(call.model)
          : this.#doSwitchWith(call.model, call.with, call.dry_run);
      case 'unload':
      case 'unload_copy':
      case 'deactivate':
      case 'undo':
      case 'pin':
      case 'apply_scene':
      case 'plan_scene':
      case 'save_scene':
      case 'delete_scene':
      case 'order_scenes':
      case 'set_alias':
        return this.residency.call(call);
      case 'machine':
        return { reply: 'machine', machine: machineOf(this.scene) };
      case 'fit':
        return { reply: 'fit', report: fitOf(call, this.scene, this.#snapshot) };
      case 'fit_together':
        return { reply: 'together', together: togetherOf(this.#snapshot, this.scene) };
      case 'model_facts':
        return { reply: 'model_facts', models: factsOf(this.#snapshot, this.#lab.runs, this.scene, Date.now()) };
      case 'cancel_switch':
        if (!this.residency.cancel()) this.#switch += 1;
        return { reply: 'done' };
      case 'bench':
      case 'compare':
      case 'trends':
      case 'accept_level':
      case 'use_parallel':
      case 'undo_parallel':
      case 'cancel_parallel':
      case 'cancel_bench':
      case 'history':
      case 'run':
      case 'report':
      case 'export':
      case 'import':
      case 'delete_runs':
      case 'history_size':
        return this.#lab.call(call);
      case 'switches':
        return { reply: 'switches', switches: pastSwitches(this.#snapshot, Date.now()) };
      case 'events':
        return eventsOf(call, this.#snapshot.notices, Date.now());
      case 'apps':
      case 'connect':
      case 'connect_write':
      case 'connect_undo':
      case 'connect_test':
        return this.apps.answer(call, Date.now());
      case 'client_keys':
      case 'add_client_key':
      case 'revoke_client_key':
        return this.clientKeys.answer(call, Date.now());
      case 'traffic':
      case 'traffic_record':
      case 'traffic_totals':
        return this.traffic.answer(call, Date.now());
      case 'gauge_history':
        return {
          reply: 'gauge_history',
          history: historyUntil(this.#sampledAt || Date.now(), call.since_ms ?? 0, this.scene, call.span_s),
        };
      case 'logs':
        return {
          reply: 'logs',
          lines: this.#logged(call.server)
            .filter((line) => line.number > (call.after ?? 0))
            .slice(-(call.limit ?? 200)),
        };
      case 'ask':
        return this.#answers.ask(call.prompt, this.#snapshot.active);
      case 'read_answer':
        return this.#answers.read(call.answer, call.offset, this.#snapshot.active);
      case 'cancel_answer':
        return this.#answers.stop(call.answer);
      case 'setup':
        return this.#doSetup();
      case 'cancel_setup':
        this.#setup += 1;
        return { reply: 'done' };
      case 'settings':
        return { reply: 'settings', settings: this.settings.view() };
      case 'set_setting':
        return { reply: 'settings', settings: this.settings.set(call) };
      case 'doctor':
        return {
          reply: 'doctor',
          checks: [
            { name: 'settings', result: 'ok', detail: 'read without a mistake', hint: null },
            { name: 'gateway', result: 'ok', detail: 'listens on 127.0.0.1', hint: null },
            { name: 'lmstudio', result: 'skipped', detail: 'not installed', hint: 'Install LM Studio to use it here.' },
          ],
        };
      case 'set_key':
        return { reply: 'key_kept', place: 'file' };
      case 'remove_key':
        return { reply: 'done' };
      case 'dismiss_notice':
        this.#change({
          notices: call.id === undefined ? [] : this.#snapshot.notices.filter((notice) => notice.id !== call.id),
        });
        return { reply: 'done' };
    }
  }

  /** Something happens. */
  tell(notice: Notice): void {
    this.#change({ notices: [notice, ...this.#snapshot.notices] });
  }

  /** Where there is much of everything, lines go on coming. */
  #logged(server: string): LogLine[] {
    const now = Date.now();
    return hasMany(this.scene)
      ? logLines(server, now, 3000 + Math.floor((now - this.#startedAt) / Math.max(1, this.step)))
      : logLines(server, now);
  }

  #current({ known, parts, gauges_since_ms: since }: Extract<Call, { call: 'snapshot' }>): Reply {
    this.pace.asked(known);
    // A sample each second, however often somebody looks.
    const now = Math.floor(Date.now() / SAMPLE_MS) * SAMPLE_MS;
    const stopped = this.scene === 'trouble';
    this.residency.tick();
    if (this.#sampledAt !== now) {
      this.#sampledAt = now;
      const gauges = stopped ? this.#snapshot.gauges : gaugesAt(now, this.scene);
      const ledger = gauges && ledgerOf(gauges, this.scene, this.#snapshot);
      this.#change({ gauges, ledger, traffic: this.traffic.now(now) });
    }
    if (known === undefined || !parts) return this.#parts.whole(this.#snapshot);
    if (known === this.#snapshot.revision)
      return { reply: 'unchanged', revision: known, now: new Date().toISOString() };
    const history = since === undefined ? undefined : historyUntil(now, since, this.scene);
    return this.#parts.since(known, this.#snapshot, history);
  }

  #change(change: Partial<Snapshot>): void {
    const revision = this.#snapshot.revision + 1;
    const changed = { ...this.#snapshot, ...change, revision, at: new Date().toISOString() };
    const { gauges } = changed;
    // What is loaded counts at once, not with the next sample.
    if (change.instances && gauges) changed.ledger = ledgerOf(gauges, this.scene, changed);
    const scenes = this.residency.views(changed);
    const load_s = Object.fromEntries(changed.models.map(({ id }) => [id, 4]));
    this.#snapshot = withStanding({ ...changed, scenes }, { answering: this.#answers.underWay(), load_s });
  }

  /** One step of simulated work. */
  go(): Promise<void> {
    return this.pace.go(this.#snapshot.revision);
  }

  snapshot(): Snapshot {
    return this.#snapshot;
  }

  change(change: Partial<Snapshot>): void {
    this.#change(change);
  }

  switchTo(id: string): Promise<Reply> {
    return this.#doSwitch(id);
  }

  /** The median of its loads, as the engine reckons with it. */
  loadTime(model: { server: string; model: string }): number | null {
    const facts = factsOf(this.#snapshot, this.#lab.runs, this.scene, 0);
    const times = facts.find((one) => one.id === `${model.server}/${model.model}`)?.loads_ms ?? [];
    const sorted = [...times].sort((a, b) => a - b);
    const middle = sorted[Math.floor(sorted.length / 2)];
    return middle === undefined ? null : middle / 1000;
  }

  #changeServer(id: string, change: Partial<ServerView>): ServerView {
    let changed: ServerView | undefined;
    const servers = this.#snapshot.servers.map((server) => {
      if (server.id !== id) return server;
      changed = { ...server, ...change, since: new Date().toISOString() };
      return changed;
    });
    this.#change({ servers });
    if (changed === undefined) throw fault('not_found', `There is no server “${id}”.`);
    return changed;
  }

  async #operate(id: string, call: 'start_server' | 'stop_server' | 'restart_server'): Promise<Reply> {
    if (call !== 'start_server') {
      this.#changeServer(id, { state: 'stopping', reason: null, hint: null });
      await this.go();
      this.#changeServer(id, { state: 'stopped', ownership: null, pid: null });
      this.#emptyMemory(id);
    }
    if (call !== 'stop_server') {
      this.#changeServer(id, { state: 'starting', reason: null, hint: null });
      await this.go();
      this.#changeServer(id, { state: 'ready', ownership: 'ours', pid: 5150 });
      this.settings.started(id);
    }
    return { reply: 'server', server: this.#changeServer(id, {}) };
  }

  /** What the engine would refuse is refused before anything is disturbed. */
  async #doSwitchWith(id: string, settings: LoadSettings, dry_run: boolean): Promise<Reply> {
    const report = this.residency.planSwitch(id, settings);
    const isNothing = !report.steps.some((step) => step.name === 'load');
    if (dry_run || (isNothing && this.#snapshot.models.some((one) => one.id === id && one.active)))
      return { reply: 'switch', report: { ...report, dry_run } };
    return this.#doSwitch(id, settings);
  }

  async #doSwitch(id: string, settings?: LoadSettings): Promise<Reply> {
    const target = this.#snapshot.models.find((model) => model.id === id);
    if (target === undefined) throw fault('not_found', `No model is called “${id}”.`);
    const mine = ++this.#switch;
    const to = { server: target.server, model: target.name };
    const active = this.#snapshot.active;
    const from = active ? { server: active.server, model: active.model } : null;
    const startedAt = Date.now();
    let loaded = 0;
    for (const [index, phase] of PHASES.entries()) {
      if (phase === 'loading') loaded += 1;
      const progress = phase === 'loading' && target.server === 'ollama' ? loaded * 0.21 : null;
      const eta_s = phase === 'loading' ? ((PHASES.length - index) * this.step) / 1000 : null;
      const started_at = new Date(startedAt).toISOString();
      this.#change({ switching: { switch_id: mine, from, to, phase, progress, eta_s, started_at } });
      await this.go();
      if (mine !== this.#switch) return this.#endSwitch(mine, from, to, 'cancelled', startedAt);
    }
    const outcome = target.fits === false && settings === undefined ? 'rolled_back' : 'committed';
    const before = this.residency.keep();
    if (outcome === 'committed') {
      this.#setActive(id);
      this.residency.switched(before, settings);
    }
    return this.#endSwitch(mine, from, to, outcome, startedAt, target.fits_reason);
  }

  #endSwitch(
    switch_id: number,
    from: { server: string; model: string } | null,
    to: { server: string; model: string },
    outcome: SwitchOutcome,
    startedAt: number,
    reason: string | null = null,
  ): Reply {
    const report = {
      switch_id,
      from,
      to,
      outcome,
      dry_run: false,
      took_ms: Date.now() - startedAt,
      load_ms: 900,
      first_token_ms: 41,
      steps: [],
      answers_cut: 0,
      journalled: true,
      reason: outcome === 'rolled_back' ? reason : null,
      error: null,
    };
    const tookOver = this.#snapshot.switching !== null && this.#snapshot.switching.switch_id !== switch_id;
    this.#change(tookOver ? { last_switch: report } : { last_switch: report, switching: null });
    return { reply: 'switch', report };
  }

  /** What is active stays the choice. */
  #emptyMemory(server: string): void {
    const models = this.#snapshot.models.map((model) =>
      model.server === server ? { ...model, loaded: false } : model,
    );
    const instances = this.#snapshot.instances.filter((one) => one.server !== server);
    this.#change({ models, instances });
  }

  #setActive(id: string | null): void {
    const models = this.#snapshot.models.map((model) => ({
      ...model,
      active: model.id === id,
      loaded: model.id === id || (model.loaded && id !== null),
    }));
    const active = models.find((model) => model.active);
    const others = this.#snapshot.instances.filter((one) => one.server !== active?.server || one.model !== active.name);
    this.#change({
      models,
      instances: [...others, ...instancesOf(active ? [active] : [], Date.now())],
      active: active ? { server: active.server, model: active.name, instance: active.name } : null,
    });
  }

  async #doSetup(): Promise<Reply> {
    const mine = ++this.#setup;
    const total_bytes = 158e6;
    for (let done = 0; done <= 10; done += 1) {
      const what = done < 5 ? 'Fetching llama-server' : 'Fetching SmolLM2 135M';
      this.#change({
        setup: {
          ...this.#snapshot.setup,
          progress: { what, done_bytes: (total_bytes * done) / 10, total_bytes },
          error: null,
        },
      });
      await this.go();
      if (mine !== this.#setup) {
        this.#change({ setup: { ...this.#snapshot.setup, progress: null } });
        throw fault('cancelled', 'The fetch was cancelled.');
      }
    }
    const { servers, models } = initialSnapshot('empty', Date.now());
    this.#change({
      servers,
      models,
      setup: { server_present: true, model_present: true, progress: null, error: null },
    });
    return { reply: 'setup', fetched: [], skipped: [] };
  }
}
