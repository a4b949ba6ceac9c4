/** The simulated benchmark lab: what it measures, and the runs that it keeps. */
import type { Call } from '../../api/Call';
import type { ParallelReport } from '../../api/ParallelReport';
import type { Reply } from '../../api/Reply';
import type { Run } from '../../api/Run';
import { comparisonOf, detailOf, planOf, runs } from './bench';
import { planRun } from './bench-plans';
import { benchSteps, finishedRuns } from './bench-steps';
import { fault } from './fault';
import type { Host } from './host';
import { sizeOf, trendsOf, type RunChoice } from './trends';

export type LabCall = Extract<
  Call,
  {
    call:
      | 'bench'
      | 'compare'
      | 'trends'
      | 'accept_level'
      | 'use_parallel'
      | 'undo_parallel'
      | 'cancel_parallel'
      | 'cancel_bench'
      | 'history'
      | 'run'
      | 'report'
      | 'export'
      | 'import'
      | 'delete_runs'
      | 'history_size';
  }
>;

export class FakeLab {
  /** Newest first. */
  #runs: Run[];
  /** Which measurement is the one under way; another number ends it. */
  #measuring = 0;
  #parallel = { before: 1, parallel: 1 };
  readonly #host: Pick<Host, 'scene' | 'go' | 'snapshot' | 'change'>;

  constructor(host: Pick<Host, 'scene' | 'go' | 'snapshot' | 'change'>) {
    this.#host = host;
    this.#runs = runs(host.scene, Date.now());
  }

  get runs(): readonly Run[] {
    return this.#runs;
  }

  call(call: LabCall): Reply | Promise<Reply> {
    switch (call.call) {
      case 'bench':
        return this.#measure(call);
      case 'compare':
        return { reply: 'comparison', comparison: comparisonOf(this.#run(call.a), this.#run(call.b)) };
      case 'trends':
        return { reply: 'trends', trends: trendsOf(this.#filtered(call), call.metric) };
      case 'accept_level':
        return { reply: 'done' };
      case 'use_parallel':
        this.#parallel = { before: this.#parallel.parallel, parallel: call.parallel };
        return { reply: 'parallel', report: this.#parallelReport(call.model, call.server ?? '', 60) };
      case 'undo_parallel':
        this.#parallel = { before: this.#parallel.parallel, parallel: this.#parallel.before };
        return { reply: 'parallel', report: this.#parallelReport('', '', 0) };
      case 'cancel_parallel':
        return { reply: 'done' };
      case 'cancel_bench':
        this.#measuring += 1;
        return { reply: 'done' };
      case 'history':
        return this.#page(call);
      case 'run':
        return this.#detail(call.run_id);
      case 'report':
        return this.#report(call.runs);
      case 'export':
        return { reply: 'exported', text: '', next: null };
      case 'import':
        return { reply: 'imported', imported: 0, already_there: 0 };
      case 'delete_runs':
        return this.#delete(call.runs);
      case 'history_size':
        return { reply: 'history_size', size: sizeOf(this.#runs.length) };
    }
  }

  async #measure(call: Extract<Call, { call: 'bench' }>): Promise<Reply> {
    const target = this.#target(call.model);
    if (this.#host.snapshot().bench !== null) throw fault('busy', 'A benchmark is under way.');
    const mine = ++this.#measuring;
    const run_id = (this.#runs[0]?.run_id ?? 0) + 1;
    const name = call.plan ?? (call.against ? 'ab' : 'quick');
    const most = Math.min(call.up_to ?? 8, 16);
    const levels = planOf('sweep', 6).concurrency.filter((level) => level <= most);
    const total = call.trials ?? (name === 'quick' ? 5 : 10);
    const against = call.against ? this.#target(call.against.model) : target;
    for (const step of benchSteps(name, total, levels, this.#host.scene === 'gpus')) {
      const { server, name: model } = step.onB ? against : target;
      this.#host.change({ bench: { run_id, server, model, ...step.progress } });
      await this.#host.go();
      if (mine !== this.#measuring) break;
    }
    const own = planRun(run_id, target, { ...call, plan: name });
    const finished = own === null ? finishedRuns(run_id, name, target, total, levels) : [own];
    if (mine !== this.#measuring) for (const one of finished) one.state = 'cancelled';
    this.#runs.unshift(...[...finished].reverse());
    const [a, b] = [finished[0], finished[1]];
    if (a === undefined) throw fault('internal', 'The simulated engine measured nothing.');
    this.#host.change({ bench: null, last_run: b ?? a });
    if (mine !== this.#measuring) throw fault('cancelled', 'The benchmark was cancelled. What was measured is kept.');
    return b ? { reply: 'comparison', comparison: comparisonOf(a, b) } : this.#detail(a.run_id);
  }

  #target(id: string | undefined): { server: string; name: string } {
    const target = this.#host.snapshot().models.find((model) => (id === undefined ? model.active : model.id === id));
    if (target === undefined) throw fault('no_active_model', 'No model is active.', 'Switch to one first.');
    return target;
  }

  #parallelReport(model: string, server: string, undo_s: number): ParallelReport {
    const key = 'servers.llama-server.parallel';
    return { server, model, key, ...this.#parallel, changed: true, took_ms: 2400, first_token_ms: 90, undo_s };
  }

  #filtered({ model, server, plan, state, since_ms, until_ms }: RunChoice): Run[] {
    return this.#runs.filter(
      (one) =>
        (model === undefined || one.model.toLowerCase().includes(model.toLowerCase())) &&
        (server === undefined || one.server === server) &&
        (plan === undefined || one.plan.name === plan) &&
        (state === undefined || one.state === state) &&
        (since_ms === undefined || Date.parse(one.started_at) >= since_ms) &&
        (until_ms === undefined || Date.parse(one.started_at) < until_ms),
    );
  }

  #page(call: RunChoice & { limit?: number; offset?: number }): Reply {
    const found = this.#filtered(call);
    const from = call.offset ?? 0;
    return { reply: 'runs', runs: found.slice(from, from + (call.limit ?? 50)), total: found.length };
  }

  #run(id: number): Run {
    const found = this.#runs.find((one) => one.run_id === id);
    if (found === undefined) throw fault('not_found', `There is no run ${id}.`);
    return found;
  }

  #report(ids: number[]): Reply {
    const about = ids.map((id) => this.#run(id));
    const names = about.map((one) => `${one.model} on ${one.server}`).join(', ');
    return { reply: 'report', text: `<!doctype html><title>${names}</title>`, runs: about, owner: null };
  }

  #delete(ids: number[]): Reply {
    const kept = this.#runs.filter((one) => !ids.includes(one.run_id));
    const deleted = this.#runs.length - kept.length;
    this.#runs = kept;
    return { reply: 'deleted', deleted };
  }

  #detail(id: number): Reply {
    const found = this.#run(id);
    const other = found.against === null ? null : this.#run(found.against);
    return { reply: 'run', detail: detailOf(found, other, this.#host.scene) };
  }
}
