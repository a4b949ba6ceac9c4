/** Simulated states of the engine: for development and tests, never in a production build. All figures are invented. */
import type { ActiveStanding } from '../../api/ActiveStanding';
import type { Abilities } from '../../api/Abilities';
import type { Gauges } from '../../api/Gauges';
import type { GpuReading } from '../../api/GpuReading';
import type { LogLine } from '../../api/LogLine';
import type { ModelView } from '../../api/ModelView';
import type { Notice } from '../../api/Notice';
import type { ServerUsage } from '../../api/ServerUsage';
import type { ServerView } from '../../api/ServerView';
import type { Snapshot } from '../../api/Snapshot';
import { runs } from './bench';
import { containers } from './containers';
import { instancesOf, ledgerOf, onMac } from './memory';
import { manyModels } from './many';
import { sceneViews } from './arrangement';
import { heldAtStart, inForceOf, isHeldAtStart, scenesOf } from './roles';
import { hasMany, isMac, type Scene } from './scene-names';
import { withStanding } from './standing';
import { quiet } from './traffic';

const GB = 1e9;
const iso = (ms: number) => new Date(ms).toISOString();

const abilities: Abilities = {
  start: true,
  stop: true,
  load: true,
  unload: true,
  load_progress: true,
  instance_memory: true,
  instance_context: true,
  instance_expiry: true,
  timings: true,
  model_size: true,
  key: false,
  take_over: false,
  cancels: true,
  copies: false,
  loads_with: { context: true, parallel: true, kv_type: true },
};

function server(id: string, kind: ServerView['kind'], title: string, more: Partial<ServerView>): ServerView {
  return {
    id,
    kind,
    title,
    ownership: null,
    state: 'stopped',
    reason: null,
    hint: null,
    endpoint: null,
    version: null,
    pid: null,
    keeper: null,
    program: null,
    backend: null,
    restarts: 0,
    abilities,
    since: iso(Date.now() - 3_600_000),
    standing: { tone: 'idle', word: '' },
    ...more,
  };
}

function servers(scene: Scene): ServerView[] {
  const empty = scene === 'first-start';
  const missing = { state: 'not_installed', reason: 'No program of that name was found.', version: null } as const;
  const llama = server('llama-server', 'llama-server', 'llama-server', {
    ...(empty
      ? missing
      : { state: 'ready', ownership: 'ours', endpoint: 'http://127.0.0.1:41233', version: 'b10068', pid: 4242 }),
    program: empty ? null : '/opt/pilothouse/embedded/llama-server',
  });
  const ollama = server('ollama', 'ollama', 'Ollama', {
    ...(empty
      ? missing
      : { state: 'ready', ownership: 'adopted', endpoint: 'http://127.0.0.1:11434', version: '0.32.0', pid: 1871 }),
    program: empty ? null : '/usr/bin/ollama',
    abilities: { ...abilities, loads_with: { context: false, parallel: false, kv_type: false } },
  });
  const lmstudio = server('lmstudio', 'lmstudio', 'LM Studio', {
    ...missing,
    hint: 'Install LM Studio and start it once.',
    abilities: {
      ...{ ...abilities, load_progress: false, timings: false },
      loads_with: { context: true, parallel: true, kv_type: false },
    },
  });
  if (hasMany(scene))
    Object.assign(lmstudio, {
      state: 'ready',
      ownership: 'adopted',
      reason: null,
      hint: null,
      endpoint: 'http://127.0.0.1:1234',
      version: '0.4.25',
      pid: 2210,
    });
  if (scene === 'trouble') {
    Object.assign(ollama, {
      state: 'gave_up',
      ownership: null,
      pid: null,
      reason: 'exited with status 1 (address in use); stopped 3 times within 60 s',
      hint: 'Look at its log, end the program that holds port 11434, then start it again.',
      restarts: 3,
    });
    Object.assign(llama, {
      state: 'degraded',
      reason: 'Answers take more than 5 s.',
      hint: 'See what else uses the CPU.',
    });
  }
  return [llama, ollama, lmstudio];
}

function model(serverId: string, name: string, title: string, more: Partial<ModelView>): ModelView {
  return {
    id: `${serverId}/${name}`,
    loaded: false,
    active: false,
    fits: null,
    fits_reason: 'its memory is not reckoned yet',
    needed_bytes: null,
    off_card: false,
    standing: { holds: 'on_disk', tone: 'idle', word: '', reason: null, act: 'none' },
    server: serverId,
    name,
    title,
    purpose: 'llm',
    format: 'gguf',
    quantization: 'Q4_K_M',
    parameters: null,
    size_bytes: null,
    context_max: 32_768,
    ...more,
  };
}

function models(scene: Scene): ModelView[] {
  if (scene === 'first-start') return [];
  if (hasMany(scene)) {
    const many = manyModels(scene === 'names');
    const scenes = scenesOf(scene, many);
    return many.map((one) => (isHeldAtStart(scene, scenes, one.id) ? { ...one, loaded: true } : one));
  }
  const all = [
    model('llama-server', 'SmolLM2-135M-Instruct.Q4_1', 'SmolLM2 135M Instruct', {
      quantization: 'Q4_1',
      parameters: '135M',
      size_bytes: 0.0984 * GB,
      context_max: 8192,
      loaded: scene !== 'empty',
      active: scene !== 'empty',
    }),
    model('llama-server', 'gemma-3-270m-it-Q4_K_M', 'Gemma 3 270M', {
      parameters: '270M',
      size_bytes: 0.253 * GB,
      needed_bytes: 0.46 * GB,
    }),
    model('ollama', 'smollm2:135m', 'SmolLM2 135M', {
      quantization: 'Q4_1',
      parameters: '135M',
      size_bytes: 0.0984 * GB,
      loaded: true,
    }),
    model('ollama', 'llama3.1:8b', 'Llama 3.1 8B Instruct', {
      parameters: '8.03B',
      size_bytes: 4.92 * GB,
      needed_bytes: 5.41 * GB,
      context_max: 131_072,
    }),
    model('ollama', 'qwen2.5:72b', 'Qwen2.5 72B Instruct', {
      parameters: '72.7B',
      size_bytes: 47.4 * GB,
      needed_bytes: 50.5 * GB,
      fits: false,
      fits_reason: 'the weights take 47.4 GB, the machine has 16.8 GB',
    }),
    model('ollama', 'nomic-embed-text', 'nomic-embed-text', {
      purpose: 'embedding',
      quantization: 'F16',
      parameters: '137M',
      size_bytes: 0.274 * GB,
    }),
  ];
  for (const one of all) if (scene === 'mac' && one.name === 'llama3.1:8b') one.loaded = true;
  return scene === 'trouble' ? all.filter((one) => one.server === 'llama-server') : all;
}

function usage(id: string, memory: number, cpu: number, processes: number): ServerUsage {
  return {
    id,
    memory_bytes: memory,
    mapped_bytes: null,
    cpu_percent: cpu,
    measure: 'pss',
    processes,
    pids: [],
    runners: [],
  };
}

function gpu(more: Partial<GpuReading>): GpuReading {
  return {
    name: 'RTX 4070',
    vendor: 'nvidia',
    load_percent: null,
    active_percent: null,
    memory_used_bytes: 5.1 * GB,
    memory_total_bytes: 12.9 * GB,
    memory_reserved_bytes: 0.4 * GB,
    memory_shared: false,
    power_w: 88,
    power_limit_w: 200,
    temperature_c: 61,
    clock_mhz: 2475,
    memory_clock_mhz: 10_501,
    throttle: [],
    processes: [],
    processes_absent: null,
    absent: null,
    source: 'NVML',
    ...more,
  };
}

/** One card; or two, of which one is held down by its power limit and the other tells little. */
function gpus(scene: Scene, wave: number): GpuReading[] {
  const load_percent = wave * 1.6;
  if (scene === 'gpu') return [gpu({ load_percent })];
  if (scene !== 'gpus') return [];
  return [
    gpu({
      name: 'NVIDIA H100 80GB HBM3',
      load_percent,
      memory_used_bytes: 41.3 * GB,
      memory_total_bytes: 85.5 * GB,
      memory_reserved_bytes: 0.5 * GB,
      power_w: 698,
      power_limit_w: 700,
      clock_mhz: 1620,
      throttle: ['power limit'],
      processes: [{ pid: 4242, memory_bytes: 41 * GB }],
    }),
    gpu({
      name: 'AMD GPU 1002:744c',
      vendor: 'amd',
      load_percent: load_percent / 4,
      power_w: null,
      power_limit_w: null,
      temperature_c: 48,
      clock_mhz: 1250,
      throttle: null,
      source: 'sysfs (amdgpu)',
    }),
  ];
}

/** One sample at a moment; a smooth made-up load, so that the lines look like lines. */
export function gaugesAt(ms: number, scene: Scene): Gauges {
  if (isMac(scene)) return onMac(gaugesAt(ms, 'ready'));
  const t = ms / 1000;
  const wave = Math.max(0, Math.sin(t / 37)) ** 0.3 * 55;
  return {
    at: iso(ms),
    interval_ms: 1000,
    cpu_percent: 6 + wave + 3 * Math.sin(t * 1.7),
    cpu_cores: 8,
    memory_used_bytes: 9.2 * GB + 0.4 * GB * Math.sin(t / 90),
    memory_total_bytes: 16.8 * GB,
    memory_limit: null,
    swap_used_bytes: scene === 'trouble' ? 1.2 * GB : 0,
    swap_total_bytes: 2.1 * GB,
    memory_pressure: null,
    gpus: gpus(scene, wave),
    gpus_absent:
      scene === 'gpu' || scene === 'gpus'
        ? null
        : 'no GPU found: no NVIDIA driver, no AMD or Intel device with readings',
    servers:
      scene === 'first-start' ? [] : [usage('llama-server', 0.31 * GB, 41, 2), usage('ollama', 0.42 * GB, 1.2, 3)],
    orphans: [],
    self: { cpu_percent: 0.4, memory_bytes: 42e6, measure: 'pss' },
    silent: [],
  };
}

function notices(scene: Scene, now: number): Notice[] {
  if (scene === 'trouble')
    return [
      {
        id: 2,
        at: iso(now - 40_000),
        level: 'problem',
        title: 'Ollama stopped three times in a minute',
        body: 'It is not restarted any more. SmolLM2 on llama-server still answers.',
        hint: 'Look at its log, then start it again.',
        server: 'ollama',
        kind: 'server',
        acts: [
          { act: 'show_log', server: 'ollama' },
          { act: 'start_again', server: 'ollama' },
        ],
        own: false,
      },
      {
        id: 1,
        at: iso(now - 240_000),
        level: 'attention',
        title: 'Put back SmolLM2',
        body: 'Llama 3.1 8B needs 3.1 GB more than is free.',
        hint: null,
        server: 'ollama',
        kind: 'switch',
        acts: [{ act: 'show_log', server: 'ollama' }],
        own: false,
      },
    ];
  return [];
}

/** What a simulated server writes as its line of that number. */
function logged(id: string, number: number): string {
  if (number % 5 !== 0) {
    const path = number % 2 === 0 ? '/api/version' : '/api/ps';
    if (id === 'ollama' && number % 5 < 4)
      return `[GIN] 2026/11/29 - 09:12:00 | 200 |      48.6µs |       127.0.0.1 | GET      "${path}"`;
    return `slot update_slots: id 0 | task ${number * 3} | prompt processing done, n_tokens = ${60 + number}`;
  }
  if (number % 20 === 0) return 'time=2026-11-29T09:12:00Z level=WARN source=sched.go:412 msg="context is shortened"';
  if (number % 35 === 0) return '0.02.374.552 E srv          load: model is corrupted or incomplete';
  return `[33551] 0.00.589.524 I srv          load: task ${number * 3} of a line that goes on ${'and on '.repeat(9)}`;
}

export function logLines(id: string, now: number, many = 60): LogLine[] {
  const lines: LogLine[] = [];
  for (let number = 1; number <= many; number += 1) {
    const ours = number % 12 === 1;
    const at = iso(now - (many - number) * 410);
    lines.push({
      number,
      at,
      source: ours ? 'pilothouse' : 'server',
      line: ours ? `${id} is ready` : logged(id, number),
    });
  }
  return lines;
}

/** Said by `withStanding`. */
const unknown: ActiveStanding = {
  holds: 'no_model',
  tone: 'idle',
  word: '',
  reason: null,
  act: 'none',
  answering: 0,
  waiting: 0,
  first: null,
};

export function initialSnapshot(scene: Scene, now: number): Snapshot {
  const list = models(scene);
  const active = list.find((one) => one.active);
  const instances = instancesOf(list, now);
  const gauges = gaugesAt(now, scene);
  const scenes = scenesOf(scene, list);
  const snapshot = withStanding({
    schema: 1,
    revision: 1,
    at: iso(now),
    engine: {
      version: '0.1.0',
      pid: 4200,
      started_at: iso(now - 7_200_000),
      gateway: 'http://127.0.0.1:4180/v1',
      gateway_absent: null,
      gateway_ollama: null,
      gateway_ollama_absent: 'switched off in the settings',
      gateway_bridges: [],
      gateway_ollama_bridges: [],
      web: 'http://127.0.0.1:4181',
      data_dir: '/home/user/.local/share/pilothouse',
      settings_file: '/home/user/.config/pilothouse/settings.toml',
      tray: { gauge: 'none', text: false, previous_model_shortcut: '' },
    },
    active: active ? { server: active.server, model: active.name, instance: active.name } : null,
    active_absent: null,
    standing: unknown,
    switching: null,
    arranging: null,
    roles: [],
    scenes: [],
    restore_at: null,
    recent: active ? [{ server: active.server, model: active.name }] : [],
    pins: [],
    on_request: [],
    undo: null,
    last_switch: null,
    servers: servers(scene),
    models: list,
    instances,
    gauges,
    ledger: ledgerOf(gauges, scene, { instances, models: list }),
    ...containers(scene === 'ready' || scene === 'trouble', scene === 'trouble', now),
    traffic: quiet,
    bench: null,
    last_run: runs(scene, now)[0] ?? null,
    notices: notices(scene, now),
    setup: {
      server_present: scene !== 'first-start',
      model_present: scene !== 'first-start',
      progress: null,
      error: null,
    },
    discovered: [],
    troubles:
      scene === 'trouble'
        ? [
            {
              code: 'settings_invalid',
              message: 'settings.toml line 7: “gatway” is not a setting. The last good settings are in force.',
              hint: 'Did you mean “gateway”?',
              retry: false,
            },
          ]
        : [],
    ...heldAtStart(scene, scenes),
  });
  // A new start knows of no load yet; the past does.
  const known = { snapshot, scene, loadedWith: new Map(), loadTime: () => null };
  return { ...snapshot, scenes: sceneViews(known, scenes, inForceOf(scene)) };
}
