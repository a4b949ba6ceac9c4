/** The simulated engine's memory: a ledger that adds up, machines, and answers to "would it fit?". All figures are invented. */
import type { ApiError } from '../../api/ApiError';
import type { Call } from '../../api/Call';
import type { Evicted } from '../../api/Evicted';
import type { FitReport } from '../../api/FitReport';
import type { Forecast } from '../../api/Forecast';
import type { Gauges } from '../../api/Gauges';
import type { Instance } from '../../api/Instance';
import type { Ledger } from '../../api/Ledger';
import type { Machine } from '../../api/Machine';
import type { ModelView } from '../../api/ModelView';
import type { NeededPart } from '../../api/NeededPart';
import type { Offer } from '../../api/Offer';
import type { OfferChange } from '../../api/OfferChange';
import type { Pool } from '../../api/Pool';
import type { Snapshot } from '../../api/Snapshot';
import type { Tenant } from '../../api/Tenant';
import type { TenantKind } from '../../api/TenantKind';
import type { Together } from '../../api/Together';
import { isMac, type Scene } from './scene-names';

const GB = 1e9;
const GIB = 2 ** 30;
const RESERVE = GIB;

type Told = Pick<Snapshot, 'instances' | 'models'>;

/** The same load on a Mac with 36 GB, where GPU and processor share the memory. */
export function onMac(gauges: Gauges): Gauges {
  return {
    ...gauges,
    cpu_cores: 14,
    memory_used_bytes: (gauges.memory_used_bytes ?? 0) + 5.2 * GB,
    memory_total_bytes: 36 * GIB,
    gpus: [
      {
        name: 'Apple M4 Max',
        vendor: 'apple',
        load_percent: (gauges.cpu_percent ?? 0) * 1.2,
        active_percent: (gauges.cpu_percent ?? 0) * 1.3,
        memory_used_bytes: 5.9 * GB,
        memory_total_bytes: null,
        memory_reserved_bytes: null,
        memory_shared: true,
        power_w: 22,
        power_limit_w: null,
        temperature_c: 48,
        clock_mhz: 1380,
        memory_clock_mhz: null,
        throttle: null,
        processes: [],
        processes_absent: 'macOS does not tell which process holds how much GPU memory',
        absent: null,
        source: 'IOReport',
      },
    ],
    gpus_absent: null,
  };
}

/** What the loaded models of a list hold. */
export function instancesOf(list: ModelView[], now: number): Instance[] {
  return list
    .filter((one) => one.loaded)
    .map((one) => ({
      id: one.name,
      server: one.server,
      model: one.name,
      memory_bytes: (one.size_bytes ?? 0) * 1.4,
      gpu_memory_bytes: null,
      context: 4096,
      expiry: one.server === 'ollama' ? { at: new Date(now + 240_000).toISOString() } : 'never',
      pid: null,
      port: null,
      slots: null,
      orphaned_answers: null,
    }));
}

function tenant(kind: TenantKind, title: string, size: number, source: string, more: Partial<Tenant> = {}): Tenant {
  const bytes = Math.round(size);
  return { kind, title, bytes, source, server: null, model: null, certainty: 'measured', ...more };
}

const KINDS: TenantKind[] = ['instance', 'mapped_files', 'server', 'orphan', 'containers', 'pilothouse', 'other'];

function pool(title: string, total: number, tenants: Tenant[], for_models: boolean): Pool {
  tenants.sort((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind) || b.bytes - a.bytes);
  tenants = tenants.filter((one) => one.bytes > 0);
  const used_bytes = tenants.reduce((sum, one) => sum + one.bytes, 0);
  return { title, for_models, total_bytes: total, used_bytes, free_bytes: total - used_bytes, tenants };
}

function titleOf(told: Told, one: Instance): string {
  return told.models.find((model) => model.server === one.server && model.name === one.model)?.title ?? one.model;
}

/** The machine's memory: instances with their mapped files, servers, Pilothouse, and the rest. */
function memoryPool(gauges: Gauges, scene: Scene, told: Told): Pool {
  const tenants: Tenant[] = [];
  for (const [index, one] of told.instances.entries()) {
    const ref = { server: one.server, model: one.model };
    const title = titleOf(told, one);
    const all = scene === 'gpu' ? 0.21 * GB : (one.memory_bytes ?? 0);
    const files = isMac(scene) ? 0 : Math.min(0.0984 * GB, all * 0.7);
    const source = isMac(scene) ? 'physical footprint' : 'proportional set size';
    tenants.push(tenant('instance', title, all - files, `process ${4250 + index}, ${source}`, ref));
    const mapped = 'files that it maps, mostly weights; the system counts them as available';
    if (files > 0)
      tenants.push(tenant('mapped_files', `${title}, mapped files`, files, `process ${4250 + index}: ${mapped}`, ref));
  }
  const own = { 'llama-server': ['llama-server', 0.06 * GB], ollama: ['Ollama', 0.14 * GB] } as const;
  for (const [id, [title, size]] of Object.entries(own))
    if (gauges.servers.some((server) => server.id === id))
      tenants.push(
        tenant('server', title, size, '2 processes, proportional set size, less its instances', { server: id }),
      );
  if (isMac(scene)) tenants.push(tenant('containers', 'Containers', 2.1 * GB, '4 containers, as Docker tells it'));
  tenants.push(tenant('pilothouse', 'Pilothouse', gauges.self.memory_bytes ?? 0, 'proportional set size'));
  const known = tenants.filter((one) => one.kind !== 'mapped_files').reduce((sum, one) => sum + one.bytes, 0);
  const rest = Math.max(0, (gauges.memory_used_bytes ?? 0) - known);
  const source = 'in use, says the system, less all that is named here';
  tenants.push(tenant('other', 'System and other programs', rest, source, { certainty: 'remainder' }));
  return pool('Memory', gauges.memory_total_bytes ?? 0, tenants, scene !== 'gpu');
}

function gpuPool(gauges: Gauges, told: Told): Pool | null {
  const gpu = gauges.gpus[0];
  if (!gpu || gpu.memory_total_bytes === null) return null;
  const tenants = told.instances.map((one) =>
    tenant('instance', titleOf(told, one), one.memory_bytes ?? 0, `${one.server} reports it`, {
      server: one.server,
      model: one.model,
      certainty: 'reported',
    }),
  );
  const known = tenants.reduce((sum, one) => sum + one.bytes, 0);
  const rest = Math.max(0, (gpu.memory_used_bytes ?? 0) - known);
  const source = 'in use, says NVML, less all that is named here';
  tenants.push(tenant('other', 'Driver and other programs', rest, source, { certainty: 'remainder' }));
  return pool(gpu.name, gpu.memory_total_bytes, tenants, true);
}

export function ledgerOf(gauges: Gauges, scene: Scene, told: Told): Ledger {
  const memory = memoryPool(gauges, scene, told);
  const gpu = scene === 'gpu' ? gpuPool(gauges, told) : null;
  const ceiling = isMac(scene)
    ? { bytes: 30.15 * GB, source: 'the GPU’s working set: 78 % of the memory', on_gpu: true }
    : gpu
      ? { bytes: gpu.total_bytes, source: 'memory of the GPU', on_gpu: true }
      : { bytes: memory.total_bytes, source: 'memory of the machine: no GPU', on_gpu: false };
  const onGpu = told.instances.reduce((sum, one) => sum + (one.memory_bytes ?? 0), 0);
  const free = isMac(scene) ? Math.min(ceiling.bytes - onGpu, memory.free_bytes) : (gpu ?? memory).free_bytes;
  return {
    at: gauges.at,
    pools: gpu ? [gpu, memory] : [memory],
    ceiling,
    in_use_bytes: ceiling.bytes - free,
    reserve_bytes: RESERVE,
    headroom_bytes: Math.max(0, free - RESERVE),
    unknown: scene === 'trouble' ? ['Llama 3.1 8B on Ollama: neither the system nor the server tells its memory'] : [],
  };
}

const linux: Machine = {
  model: null,
  chip: 'Example CPU',
  cores: { performance: 8, efficiency: null },
  memory_bytes: 16.8 * GB,
  memory_limit: null,
  memory_kind: 'separate',
  bandwidth_gb_s: null,
  bandwidth_gb_s_absent: 'the speed of the memory modules is told only to the administrator',
  gpus: [],
  neural_engine: null,
  metal: null,
  os: 'Debian 12',
  driver: null,
  gpu_limit_override_bytes: null,
};

export function machineOf(scene: Scene): Machine {
  if (isMac(scene))
    return {
      ...linux,
      model: 'Mac Studio',
      chip: 'Apple M4 Max',
      cores: { performance: 10, efficiency: 4 },
      memory_bytes: 36 * GIB,
      memory_limit: null,
      memory_kind: 'unified',
      bandwidth_gb_s: { value: 410, source: 'table of chips' },
      bandwidth_gb_s_absent: null,
      gpus: [
        {
          name: 'Apple M4 Max',
          vendor: 'apple',
          cores: 32,
          memory_bytes: null,
          memory_shared: true,
          reachable_bytes: null,
          bandwidth_gb_s: null,
          compute_capability: null,
          driver: null,
        },
      ],
      neural_engine: '16 cores, 38 TOPS',
      metal: '4',
      os: 'macOS 26.1',
    };
  if (scene === 'gpu')
    return {
      ...linux,
      driver: '570.86.15',
      gpus: [
        {
          name: 'RTX 4070',
          vendor: 'nvidia',
          cores: 5888,
          memory_bytes: 12.9 * GB,
          memory_shared: false,
          reachable_bytes: null,
          bandwidth_gb_s: { value: 504, source: 'bus width and clock' },
          compute_capability: '8.9',
          driver: '570.86.15',
        },
      ],
    };
  return linux;
}

/** GB of the weights at four bits, and of the cache per 1000 tokens in f16. */
const SIZES: Record<string, [number, number]> = {
  '0.5b': [0.4, 0.012],
  '1.5b': [1.0, 0.029],
  '3b': [1.9, 0.038],
  '7b': [4.7, 0.058],
  '13b': [7.9, 0.84],
  '30b': [19.9, 0.27],
  '70b': [42.5, 0.33],
};
const KV: Record<string, number> = { f16: 1, q8_0: 0.53, q4_0: 0.28 };

interface Wanted {
  title: string;
  weights: number;
  cache: number;
  id: string;
}

function wanted(name: string, models: ModelView[]): Wanted {
  const model = models.find((one) => one.id === name || one.name === name);
  if (model) {
    const weights = model.size_bytes ?? 0;
    return { title: model.title, weights, cache: weights * 0.015, id: model.id };
  }
  const [size = '', mix = 'q4_k_m'] = name.toLowerCase().split(':');
  const known = SIZES[size];
  if (known === undefined) {
    const hint = '`pilothouse models` lists them. Typical sizes: 0.5b, 1.5b, 3b, 7b, 13b, 30b, 70b.';
    const error: ApiError = { code: 'not_found', message: `No server has a model ${name}.`, hint, retry: false };
    throw error;
  }
  return { title: name, weights: known[0] * GB * (mix === 'q2_k' ? 0.65 : 1), cache: known[1] * GB, id: name };
}

function partsOf(one: Wanted, context: number, parallel: number, kv: string): NeededPart[] {
  const requests = parallel === 1 ? '' : ` for ${parallel} requests`;
  const part = (what: NeededPart['what'], size: number, source: string) => ({
    model: one.title,
    what,
    bytes: Math.round(size),
    source,
  });
  return [
    part('weights', one.weights, 'the tensors in the model’s file'),
    part(
      'kv_cache',
      (one.cache * context * parallel * (KV[kv] ?? 1)) / 1000,
      `28 layers, ${context} tokens${requests}, ${kv}`,
    ),
    part('compute', 0.12 * GB, 'a batch of 512 tokens, as far as it is touched'),
    part('runner', 0.07 * GB, 'measured: the program and a vocabulary of this size'),
  ];
}

const sumOf = (parts: NeededPart[]) => parts.reduce((sum, part) => sum + part.bytes, 0);

export function forecastOf(scene: Scene, weights: number): Forecast | null {
  const bandwidth = isMac(scene) ? 410 : scene === 'gpu' ? 504 : undefined;
  if (bandwidth === undefined) return null;
  return {
    decode_tok_s: (bandwidth * 0.8 * GB) / weights,
    error_percent: isMac(scene) ? 5 : 20,
    prefill_tok_s: isMac(scene) ? (bandwidth * 14 * GB) / weights : null,
    prefill_error_percent: isMac(scene) ? 20 : null,
    prefill_tok_s_absent: isMac(scene) ? null : 'the computing speed of this machine is not known',
    measured: false,
    source: 'bandwidth; fitted on other machines with a 7B model, other sizes unchecked',
  };
}

function offersOf(
  total: (context: number, parallel: number, kv: string) => number,
  [context, parallel, kv]: [number, number, string],
  free: number,
  held: Tenant[],
): Offer[] {
  const offers: Offer[] = [];
  const offer = (what: string, change: OfferChange, needed_bytes: number, cost: string) => {
    if (needed_bytes <= free) offers.push({ what, change, needed_bytes, cost });
    return needed_bytes <= free;
  };
  for (const shorter of [65_536, 32_768, 16_384, 8192, 4096, 2048].filter((one) => one < context)) {
    const cost = `requests of more than ${shorter} tokens are cut or refused`;
    if (offer(`context ${shorter}`, { kind: 'context', context: shorter }, total(shorter, parallel, kv), cost)) break;
  }
  if (parallel > 1)
    offer('one request at a time', { kind: 'parallel', parallel: 1 }, total(context, 1, kv), 'further requests wait');
  if (kv === 'f16') {
    const cost = 'answers change very little; a little slower';
    offer('KV cache in q8_0', { kind: 'kv', kv: 'q8_0' }, total(context, parallel, 'q8_0'), cost);
  }
  const needed = total(context, parallel, kv);
  const other = held.find((one) => one.kind === 'instance' && needed <= free + one.bytes);
  if (other) {
    const cost = `${other.title} must be loaded again when it is wanted`;
    const model = { server: other.server ?? '', model: other.model ?? '' };
    offers.push({ what: `unload ${other.title}`, change: { kind: 'unload', model }, needed_bytes: needed, cost });
  }
  return offers;
}

/** The largest models first, until there is room. */
function evictsOf(held: Tenant[], lacking: number): Evicted[] {
  const leaving: Evicted[] = [];
  const models = held.filter((one) => one.kind === 'instance').sort((a, b) => b.bytes - a.bytes);
  for (const { title, server, model, bytes } of models) {
    if (lacking <= 0) break;
    leaving.push({ server: server ?? '', model: model ?? '', title, bytes });
    lacking -= bytes;
  }
  return lacking > 0 ? [] : leaving;
}

export function fitOf(call: Extract<Call, { call: 'fit' }>, scene: Scene, snapshot: Snapshot): FitReport {
  const asked = call.models.map((name) => wanted(name, snapshot.models));
  const [context, parallel, kv] = [call.context ?? 4096, call.parallel ?? 1, call.kv ?? 'f16'];
  const ledger = snapshot.ledger ?? ledgerOf(snapshot.gauges as Gauges, scene, snapshot);
  const parts = asked.flatMap((one) => partsOf(one, context, parallel, kv));
  const needed_bytes = sumOf(parts);
  const placed = ledger.pools.find((one) => one.for_models)?.tenants ?? [];
  const own = placed.filter((one) => asked.some(({ id }) => id === `${one.server}/${one.model}`));
  const used_bytes = ledger.in_use_bytes - own.reduce((sum, one) => sum + one.bytes, 0);
  const free = Math.max(0, ledger.ceiling.bytes - used_bytes - RESERVE);
  const fits = needed_bytes <= free;
  const total = (...wish: [number, number, string]) => sumOf(asked.flatMap((one) => partsOf(one, ...wish)));
  const forecast = forecastOf(scene, asked[0]?.weights ?? GB);
  return {
    fits,
    verdict: fits ? (free - needed_bytes < 1.5 * GIB ? 'tight' : 'fits') : 'does_not_fit',
    reason: fits ? 'It fits.' : 'It does not fit.',
    ceiling_bytes: ledger.ceiling.bytes,
    ceiling_source: ledger.ceiling.source,
    reserve_bytes: RESERVE,
    used_bytes,
    needed_bytes,
    context,
    parallel,
    kv,
    parts,
    offers: fits
      ? []
      : offersOf(
          total,
          [context, parallel, kv],
          free,
          placed.filter((one) => !own.includes(one)),
        ),
    evicts: evictsOf(
      placed.filter((one) => !own.includes(one)),
      needed_bytes - free,
    ),
    forecast,
    forecast_absent: forecast ? null : 'the memory bandwidth of this machine is not known',
  };
}

/** Every set to which no further model could be added; small numbers of models only. */
export function togetherOf(snapshot: Snapshot, scene: Scene): Together {
  const ledger = snapshot.ledger ?? ledgerOf(snapshot.gauges as Gauges, scene, snapshot);
  const held = ledger.pools.find((one) => one.for_models)?.tenants.filter((one) => one.model !== null) ?? [];
  const free_bytes = ledger.headroom_bytes + held.reduce((sum, one) => sum + one.bytes, 0);
  const sizes = snapshot.models
    .filter((one) => one.purpose === 'llm')
    .map((one) => ({ id: one.id, bytes: sumOf(partsOf(wanted(one.id, snapshot.models), 4096, 1, 'f16')) }));
  const fitting = sizes.filter((one) => one.bytes <= free_bytes).sort((a, b) => b.bytes - a.bytes);
  const sets: Together['sets'] = [];
  for (let mask = 1; mask < 2 ** fitting.length; mask += 1) {
    const inside = fitting.filter((_, index) => mask & (1 << index));
    const needed_bytes = inside.reduce((sum, one) => sum + one.bytes, 0);
    const left_bytes = free_bytes - needed_bytes;
    const more = fitting.some((one) => !inside.includes(one) && one.bytes <= left_bytes);
    if (left_bytes >= 0 && !more) sets.push({ models: inside.map((one) => one.id), needed_bytes, left_bytes });
  }
  const too_large = sizes.filter((one) => one.bytes > free_bytes).map((one) => one.id);
  return { free_bytes, sets, complete: true, too_large, unknown: [] };
}
