/**
 * The UI's copy of the engine's state. It is pulled while somebody looks and never changed here: a click sends a call,
 * and the next snapshot shows what came of it.
 */
import type { ApiError } from './api/ApiError';
import type { Call } from './api/Call';
import type { GaugeHistory } from './api/GaugeHistory';
import type { LoadSettings } from './api/LoadSettings';
import type { ModelRef } from './api/ModelRef';
import type { Reply } from './api/Reply';
import type { Snapshot } from './api/Snapshot';
import type { SwitchReport } from './api/SwitchReport';
import type { UndoView } from './api/UndoView';
import { Acts } from './acts.svelte';
import { asApiError, expectReply, type Backend } from './backend/backend';
import { LiveSnapshot } from './live-snapshot.svelte';
import { emptyHistory, joinHistory, spans, type Span } from './series';

/** Between two pulls: while something is under way, while somebody is at the page, and while it only stands there. */
const BUSY_MS = 400;
const CALM_MS = 1000;
const RESTING_MS = 2000;
/** Somebody who moved the pointer or pressed a key within this time is at the page. */
const AT_PAGE_MS = 30_000;
const SPAN_KEY = 'pilothouse.gauges.span';
/** What only asks: nothing of the snapshot is another for it, so that nothing has to be pulled. */
const QUESTIONS: ReadonlySet<Call['call']> = new Set([
  'machine',
  'fit',
  'fit_together',
  'model_facts',
  'trends',
  'compare',
  'history',
  'run',
  'report',
  'export',
  'history_size',
  'switches',
  'events',
  'traffic',
  'traffic_record',
  'traffic_totals',
  'apps',
  'connect',
  'gauge_history',
  'logs',
  'search_logs',
  'read_answer',
  'settings',
  'plan_scene',
]);

/** Whether the page can be seen, and how to learn of a change. The document's own, or a test's. */
export interface Visibility {
  hidden(): boolean;
  onChange(listener: () => void): () => void;
  /** Calls the listener when somebody moves the pointer over the page, scrolls it or presses a key. */
  onTouch(listener: () => void): () => void;
}

const TOUCHES = ['pointermove', 'pointerdown', 'wheel', 'keydown'] as const;

export const documentVisibility: Visibility = {
  hidden: () => document.hidden,
  onChange(listener) {
    document.addEventListener('visibilitychange', listener);
    return () => document.removeEventListener('visibilitychange', listener);
  },
  onTouch(listener) {
    for (const touch of TOUCHES) document.addEventListener(touch, listener, { passive: true });
    return () => TOUCHES.forEach((touch) => document.removeEventListener(touch, listener));
  },
};

export class Store {
  #held: Snapshot | null = null;
  #live = $state.raw<LiveSnapshot | null>(null);
  gaugeHistory = $state.raw<GaugeHistory>(emptyHistory());
  /** How far back `gaugeHistory` reaches. */
  gaugeSpan = $state<Span>(rememberedSpan());
  /** Why the last pull failed; null while the engine answers. */
  offline = $state.raw<ApiError | null>(null);
  /** This browser is not known: pulling has ended, until somebody looks again. The cookie may have come by another tab. */
  unauthorized = $state(false);
  /** This machine's clock, advanced with each pull, for ages and the end of "undo". */
  now = $state(Date.now());
  /** When the last answer came, this machine's clock. */
  answeredAt = $state<number | null>(null);
  /** The engine's clock at that moment; null: it does not tell. */
  #engineNow = $state<string | null>(null);
  /** The model that was just clicked, until the engine reports the switch. */
  requested = $state.raw<ModelRef | null>(null);
  /** Why the last switch could not even begin. */
  switchError = $state.raw<ApiError | null>(null);
  /** What was asked for when `switchError` came. */
  refused = $state.raw<ModelRef | null>(null);
  /** The last switch that ended while this page was open. */
  ended = $state.raw<{ report: SwitchReport; at: number } | null>(null);

  /** Scenes, unloading, pins, and taking back. */
  readonly acts = new Acts((call) => this.call(call));

  readonly #backend: Backend;
  readonly #visibility: Visibility;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #pulling = false;
  #running = false;
  #requests = 0;
  #lookBacks = 0;
  #historyAt = 0;
  #first: Promise<Reply> | null;
  #touchedAt = -Infinity;

  /** Null until the first answer. Each part of it changes by itself. */
  get snapshot(): Snapshot | null {
    return this.#live?.view ?? null;
  }

  set snapshot(snapshot: Snapshot | null) {
    this.#held = snapshot;
    if (snapshot === null) this.#live = null;
    else if (this.#live === null) this.#live = new LiveSnapshot(snapshot);
    else this.#live.show(snapshot);
  }

  /** `first`: the answer to a question for the snapshot that is on its way already. */
  constructor(backend: Backend, visibility: Visibility = documentVisibility, first: Promise<Reply> | null = null) {
    this.#first = first;
    this.#backend = backend;
    this.#visibility = visibility;
  }

  /** Begins to pull, and stops and goes on with the page's visibility. Returns the function that ends it. */
  start(): () => void {
    this.#running = true;
    const off = this.#visibility.onChange(() => (this.#visibility.hidden() ? this.#pause() : this.#resume()));
    const offTouch = this.#visibility.onTouch(() => this.#touch());
    this.#resume();
    return () => {
      this.#running = false;
      this.#pause();
      off();
      offTouch();
    };
  }

  /** Whoever comes to a page that stood there sees at once what holds now. */
  #touch(): void {
    const rested = !this.#atPage;
    this.#touchedAt = Date.now();
    if (rested && this.answeredAt !== null) this.#hurry();
  }

  get #atPage(): boolean {
    return Date.now() - this.#touchedAt < AT_PAGE_MS;
  }

  /** Sends a call; what it changed is pulled at once. Rejects with an `ApiError`. */
  async call(call: Call): Promise<Reply> {
    const changes = !QUESTIONS.has(call.call);
    try {
      const reply = this.#backend.call(call);
      if (changes) this.#hurry();
      return await reply;
    } catch (error) {
      const failure = asApiError(error);
      if (failure.code === 'unauthorized') this.#lockOut();
      throw failure;
    } finally {
      if (changes) this.#hurry();
    }
  }

  /** Asks for a switch. What becomes of it stands in the snapshot; only a refusal stands in `switchError`. */
  /** `settings`: with what it shall be loaded; left out: as it is in memory, else as its server loads it. */
  async switchTo(ref: ModelRef, settings?: LoadSettings): Promise<void> {
    const request = ++this.#requests;
    this.requested = ref;
    this.switchError = null;
    this.ended = null;
    this.acts.said = null;
    try {
      await this.call({
        call: 'switch',
        model: `${ref.server}/${ref.model}`,
        server: ref.server,
        dry_run: false,
        now: false,
        ...(settings && { with: settings }),
      });
    } catch (error) {
      if (request === this.#requests) {
        this.switchError = asApiError(error);
        this.refused = ref;
      }
    } finally {
      if (request === this.#requests) this.requested = null;
    }
  }

  /** Shows the gauges' past as far back as this, and remembers it. */
  async lookBack(span: Span): Promise<void> {
    if (span === this.gaugeSpan) return;
    this.gaugeSpan = span;
    this.gaugeHistory = emptyHistory();
    this.#lookBacks += 1;
    rememberSpan(span);
    await this.#pullHistory();
  }

  /** What can be taken back now; it ends by the clock, also where no answer comes any more. */
  get undo(): UndoView | null {
    const undo = this.snapshot?.undo ?? null;
    return undo === null || Date.parse(undo.until) <= this.engineTime ? null : undo;
  }

  /** The engine's clock, in milliseconds: as it was at the last answer, and ours since then. */
  get engineTime(): number {
    const told = this.#engineNow ?? this.snapshot?.at;
    if (told === undefined || this.answeredAt === null) return this.now;
    return Date.parse(told) + (this.now - this.answeredAt);
  }

  /** Age of the gauges' last sample in ms; null while there is none. Both clocks are used only against themselves: the engine's
   * at its last answer, because the snapshot stands still with the gauges, and ours since then. */
  get gaugeAge(): number | null {
    const snapshot = this.snapshot;
    if (!snapshot?.gauges || this.answeredAt === null) return null;
    const atAnswer = Date.parse(this.#engineNow ?? snapshot.at) - Date.parse(snapshot.gauges.at);
    return Math.max(0, atAnswer + (this.now - this.answeredAt));
  }

  /** Older than two samples, as often as they come here at the least. */
  get gaugesStale(): boolean {
    const age = this.gaugeAge;
    return age !== null && age > 2 * Math.max(RESTING_MS, this.snapshot?.gauges?.interval_ms ?? 0);
  }

  /** Something is under way that people watch. */
  get busy(): boolean {
    const snapshot = this.snapshot;
    if (this.requested !== null || this.acts.under !== null) return true;
    return (
      snapshot !== null &&
      Boolean(snapshot.switching ?? snapshot.arranging ?? snapshot.bench ?? snapshot.setup.progress)
    );
  }

  #resume(): void {
    if (!this.#running || this.#visibility.hidden()) return;
    this.#schedule(0);
  }

  #pause(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #hurry(): void {
    if (!this.#pulling && !this.unauthorized) this.#resume();
  }

  #schedule(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#pull(), ms);
  }

  async #pull(): Promise<void> {
    if (this.#pulling) return;
    this.#pulling = true;
    try {
      const known = this.#held?.revision;
      // After an outage everything is asked for again: the engine may be a new one that counts from the start.
      const fresh = known === undefined || this.offline !== null;
      const first = this.#first;
      this.#first = null;
      const reply = await (first ?? this.#backend.call(fresh ? { call: 'snapshot' } : this.#news(known)));
      // All at once, so that the page is drawn once for each answer.
      const more = this.#take(reply);
      if ('now' in reply) this.#engineNow = reply.now ?? null;
      this.offline = null;
      this.unauthorized = false;
      this.answeredAt = this.now = Date.now();
      if (more) await this.#pullHistory();
    } catch (error) {
      const failure = asApiError(error);
      if (failure.code === 'unauthorized') this.#lockOut();
      else this.offline = failure;
      this.now = Date.now();
    } finally {
      this.#pulling = false;
    }
    if (this.#running && !this.unauthorized && !this.#visibility.hidden()) {
      const calm = this.#atPage || this.offline !== null ? CALM_MS : RESTING_MS;
      this.#schedule(this.busy && this.offline === null ? BUSY_MS : calm);
    }
  }

  /** Whether the newest samples have to be asked for too. */
  #take(reply: Reply): boolean {
    if (reply.reply === 'unchanged') return false;
    const before = this.#held;
    let snapshot: Snapshot;
    let history: GaugeHistory | undefined;
    if (reply.reply === 'parts' && before !== null) {
      snapshot = { ...before, ...reply.parts, revision: reply.revision, at: reply.at };
      history = reply.history;
    } else snapshot = expectReply(reply, 'snapshot').snapshot;
    this.#noteEnd(before, snapshot);
    this.snapshot = snapshot;
    if (history === undefined || this.gaugeSpan !== '15m')
      return Boolean(snapshot.gauges) && snapshot.gauges?.at !== before?.gauges?.at;
    this.gaugeHistory = joinHistory(this.gaugeHistory, history);
    return false;
  }

  /** Asks for what has changed, with the newest samples where they are shown one by one. */
  #news(known: number): Call {
    const since = this.gaugeSpan === '15m' ? this.gaugeHistory.at_ms.at(-1) : undefined;
    const call = { call: 'snapshot', known, parts: true } as const;
    return since === undefined ? call : { ...call, gauges_since_ms: since };
  }

  #noteEnd(before: Snapshot | null, after: Snapshot): void {
    const report = after.last_switch;
    if (before === null || report === null || report.switch_id === before.last_switch?.switch_id) return;
    this.ended = { report, at: Date.now() };
  }

  async #pullHistory(): Promise<void> {
    const { at_ms, step_ms } = this.gaugeHistory;
    const lookBack = this.#lookBacks;
    const live = this.gaugeSpan === '15m';
    // Means over a minute have nothing new every second.
    if (!live && at_ms.length > 0 && Date.now() - this.#historyAt < step_ms) return;
    const since = at_ms.at(-1);
    try {
      const call: Call = { call: 'gauge_history' };
      if (!live) call.span_s = spans[this.gaugeSpan];
      else if (since !== undefined) call.since_ms = since;
      const { history } = expectReply(await this.#backend.call(call), 'gauge_history');
      if (lookBack !== this.#lookBacks) return;
      this.#historyAt = Date.now();
      this.gaugeHistory = live ? joinHistory(this.gaugeHistory, history) : history;
    } catch {
      // The lines of the last minutes are an extra: without them the gauges still show their numbers.
    }
  }

  #lockOut(): void {
    this.unauthorized = true;
    this.#pause();
  }
}

/** What was chosen last on this device; a page that may not remember begins anew each time. */
function rememberedSpan(): Span {
  try {
    const kept = localStorage.getItem(SPAN_KEY);
    return kept !== null && kept in spans ? (kept as Span) : '15m';
  } catch {
    return '15m';
  }
}

function rememberSpan(span: Span): void {
  try {
    localStorage.setItem(SPAN_KEY, span);
  } catch {
    // Then it holds for this page only.
  }
}
