/**
 * All words that people read, typed by code and state, so that a new one in the engine fails the type check here until
 * it has its words.
 */
import type { Certainty } from './api/Certainty';
import type { CheckResult } from './api/CheckResult';
import type { ContainerHealth } from './api/ContainerHealth';
import type { ContainerProblem } from './api/ContainerProblem';
import type { ContainerState } from './api/ContainerState';
import type { ErrorCode } from './api/ErrorCode';
import type { FitVerdict } from './api/FitVerdict';
import type { KeyPlace } from './api/KeyPlace';
import type { LogSource } from './api/LogSource';
import type { MemoryKind } from './api/MemoryKind';
import type { MemoryMeasure } from './api/MemoryMeasure';
import type { ModelPurpose } from './api/ModelPurpose';
import type { NoticeLevel } from './api/NoticeLevel';
import type { Ownership } from './api/Ownership';
import type { PartKind } from './api/PartKind';
import type { Product } from './api/Product';
import type { RunState } from './api/RunState';
import type { ServerState } from './api/ServerState';
import type { SwitchOutcome } from './api/SwitchOutcome';
import type { SwitchPhase } from './api/SwitchPhase';
import type { TenantKind } from './api/TenantKind';
import type { TrialPhase } from './api/TrialPhase';
import type { Column, Span } from './series';

/** What went wrong, as a heading; the engine's message follows it. */
export const errors: Record<ErrorCode, string> = {
  invalid_call: 'That cannot be asked this way',
  not_found: 'Not found',
  ambiguous: 'More than one fits that name',
  busy: 'Something else is under way',
  not_ours: 'Not started by Pilothouse',
  not_installed: 'Not installed',
  does_not_fit: 'Does not fit into memory',
  unsupported: 'This server cannot do that',
  cancelled: 'Cancelled',
  timed_out: 'No answer in time',
  unreachable: 'Pilothouse does not answer',
  server_error: 'The server reported an error',
  bad_answer: 'An answer that makes no sense',
  unauthorized: 'This address has no valid token',
  load_failed: 'The model could not be loaded',
  proof_failed: 'The model loaded but did not answer',
  port_taken: 'The port is taken by another program',
  server_crashed: 'The server stopped by itself',
  cpu_too_old: 'Built for a newer CPU',
  download_failed: 'The download failed',
  hash_mismatch: 'The download is not what it should be',
  settings_invalid: 'The settings file has a mistake',
  restart_needed: 'Some settings wait for a restart',
  folder_missing: 'A folder of the settings is not there',
  store_unavailable: 'History cannot be read',
  not_journalled: 'Switches are not written down',
  source_silent: 'Readings are missing',
  no_active_model: 'No active model',
  not_running: 'The server does not run',
  already_running: 'Already running',
  system: 'The system refused',
  internal: 'A fault in Pilothouse',
};

/** Where a key is kept. */
export const keyPlaces: Record<KeyPlace, string> = {
  keyring: 'keyring of this system',
  file: 'data folder, in a file that only you can read',
};

/** The four meanings that a colour and a shape can carry. */
export type Tone = 'good' | 'busy' | 'attention' | 'bad' | 'idle';

export const serverStates: Record<ServerState, { word: string; tone: Tone }> = {
  not_installed: { word: 'Not installed', tone: 'idle' },
  stopped: { word: 'Stopped', tone: 'idle' },
  starting: { word: 'Starting', tone: 'busy' },
  ready: { word: 'Ready', tone: 'good' },
  degraded: { word: 'Ready with trouble', tone: 'attention' },
  stopping: { word: 'Stopping', tone: 'busy' },
  failed: { word: 'Failed', tone: 'bad' },
  gave_up: { word: 'Gave up restarting', tone: 'bad' },
  not_ours: { word: 'Address held by another program', tone: 'attention' },
};

export const switchPhases: Record<SwitchPhase, string> = {
  preparing: 'Preparing',
  draining: 'Waiting for answers to end',
  unloading: 'Unloading',
  loading: 'Loading',
  proving: 'Asking for a first token',
  committing: 'Making it active',
  putting_back: 'Putting back',
};

export const switchOutcomes: Record<SwitchOutcome, string> = {
  committed: 'Switched',
  rolled_back: 'Put back',
  cancelled: 'Cancelled',
};

export const ownerships: Record<Ownership, string> = {
  ours: 'started by Pilothouse',
  adopted: 'found running',
  remote: 'somebody else’s',
};

export const measures: Record<MemoryMeasure, { word: string; meaning: string }> = {
  pss: { word: 'PSS', meaning: 'Proportional set size: shared pages are divided among those who share them' },
  rss: { word: 'RSS', meaning: 'Resident set size: shared pages count in full' },
  footprint: { word: 'footprint', meaning: 'Physical footprint, as Activity Monitor shows it' },
};

export const runStates: Record<RunState, { word: string; tone: Tone }> = {
  running: { word: 'running', tone: 'busy' },
  done: { word: 'done', tone: 'good' },
  cut_off: { word: 'cut off', tone: 'attention' },
  cancelled: { word: 'cancelled', tone: 'idle' },
};

export const trialPhases: Record<TrialPhase, { one: string; many: string }> = {
  warmup: { one: 'Warm-up', many: 'Warm-ups' },
  measured: { one: 'Trial', many: 'Trials' },
};

export const noticeLevels: Record<NoticeLevel, { word: string; tone: Tone }> = {
  info: { word: 'For information', tone: 'idle' },
  attention: { word: 'Needs attention', tone: 'attention' },
  problem: { word: 'Problem', tone: 'bad' },
};

export const purposes: Record<ModelPurpose, string> = {
  llm: 'language model',
  embedding: 'embedding model',
  other: 'other model',
};

export const logSources: Record<LogSource, string> = { server: 'server', pilothouse: 'Pilothouse' };

export const checkResults: Record<CheckResult, { word: string; tone: Tone }> = {
  ok: { word: 'fine', tone: 'good' },
  warn: { word: 'look at this', tone: 'attention' },
  fail: { word: 'broken', tone: 'bad' },
  skipped: { word: 'not checked', tone: 'idle' },
};

export const app = {
  name: 'Pilothouse',
  pages: {
    now: 'Now',
    models: 'Models',
    servers: 'Servers',
    memory: 'Memory',
    benchmarks: 'Benchmarks',
    history: 'History',
    log: 'Log',
  },
  sections: 'Sections',
  toContent: 'Skip to content',
  connecting: 'Asking Pilothouse for its state',
  offline: 'Pilothouse does not answer',
  offlineStill: (at: string) => `What you see is from ${at} and may have changed.`,
  offlineHint: 'Start the app, or run “pilothouse serve”. This page goes on by itself.',
  cancel: 'Cancel',
  dismiss: 'Dismiss',
  dismissAll: 'Dismiss all',
  back: 'Back',
  notReported: 'not reported',
  keys: 'Keys',
  close: 'Close',
} as const;

export const keys: [string, string][] = [
  ['/', 'Filter models'],
  ['↑ ↓', 'Move in the list'],
  ['Enter', 'Switch to the model'],
  ['Esc', 'Clear the filter, close this'],
  ['1 – 7', 'Go to a section'],
  ['?', 'Show these keys'],
];

export const unauthorized = {
  title: 'This address has no valid token',
  body: 'Pilothouse shows itself only to those who can run its commands on this machine. The token in the address is missing, or Pilothouse has been started again since.',
  how: 'For a fresh address, run',
  command: 'pilothouse status',
  then: 'It prints the address of this page with a new token.',
};

export const now = {
  none: 'No active model',
  noneHint: 'Choose one from the list. It answers under the name “active”.',
  ready: 'Ready',
  switching: 'Switching',
  answering: 'Answering',
  cannotAnswer: 'Cannot answer',
  orphans: (count: number) =>
    count === 1 ? 'busy with an answer that nobody waits for' : `busy with ${count} answers that nobody waits for`,
  unknownServer: 'Server not known',
  gateway: 'For client programs',
  gatewayModel: 'Model name',
  lastAnswer: 'last answer',
  lastRun: 'last benchmark',
  firstToken: (time: string) => `first token ${time}`,
  undo: (model: string) => `Back to ${model}`,
  putBack: (model: string | null, reason: string) =>
    model === null ? `Nothing is active now: ${reason}` : `Put back ${model}: ${reason}`,
  switchCancelled: (model: string) => `Switch to ${model} cancelled.`,
  doing: (phase: string, model: string, server: string) => `${phase}: ${model} on ${server}`,
  left: (eta: string) => `${eta} left`,
  takesOver: 'Choosing another model takes over.',
};

export const switching = {
  title: 'Switch',
  filter: 'Filter models',
  /** Heard, not seen: "Switch to" and "on" make a sentence of what the row shows. */
  switchTo: 'Switch to',
  on: 'on',
  active: 'active',
  loaded: 'loaded',
  none: 'No server reports a model yet.',
  noneHint: 'Start a server, or fetch a model with it.',
  noMatch: (filter: string) => `No model matches “${filter}”.`,
  found: (n: number, all: number) => (n === all ? `${n} models` : `${n} of ${all} models`),
  doesNotFit: 'Does not fit',
  moreThanFree: (size: string) => `${size} more than is free`,
  needs: 'needs',
  about: (size: string) => `about ${size}`,
  whatFits: 'What would fit',
  whatFitsFor: (model: string) => `What would fit instead of ${model}`,
  others: 'Cannot become active',
  context: (tokens: string) => `context ${tokens}`,
};

export const servers = {
  none: 'No server is set up.',
  noneHint: 'Switch one on in the settings file.',
  version: 'Version',
  owner: 'Process',
  endpoint: 'Address',
  pid: 'PID',
  memory: 'Memory',
  restarts: 'Restarts',
  since: 'Since',
  program: 'Program',
  start: 'Start',
  startAgain: 'Start again',
  stop: 'Stop',
  restart: 'Restart',
  log: 'Log',
  startOf: (name: string) => `Start ${name}`,
  startAgainOf: (name: string) => `Start again: ${name}`,
  stopOf: (name: string) => `Stop ${name}`,
  restartOf: (name: string) => `Restart ${name}`,
  lookAgain: 'Look again',
  lookAgainFor: (name: string) => `Look again for ${name}`,
  check: 'Check',
  checkOf: (name: string) => `Check ${name}`,
  rungs: { port: 'Port', API: 'API', token: 'Token' } as Record<string, string>,
  logOf: (name: string) => `Log of ${name}`,
  loses: (verb: string, name: string, model: string) =>
    `${verb} ${name} takes ${model}, the active model, out of memory. Requests get no answer until you switch.`,
  stopping: 'Stopping',
  restarting: 'Restarting',
  keep: 'Keep it running',
  takeOver: 'Take over',
  takeOverOf: (name: string) => `Take over ${name}`,
  takesOver: (name: string) =>
    `${name} was started by somebody else. Pilothouse asks it to end and starts its own in its place; programs that use it are cut off.`,
  leave: 'Leave it',
  forget: 'Forget',
  forgetOf: (name: string) => `Forget ${name}`,
  forgets: (name: string, active: string | null) =>
    `Pilothouse forgets ${name} and its key. The server itself goes on; it can be added again.` +
    (active === null ? '' : ` It has the active model, ${active}: no model is active then.`),
  backend: 'Program behind it',
  backendOff: 'not running',
  backendOn: (title: string, version: string | null, pid: string | null) =>
    [title, version, pid && `PID ${pid}`].filter(Boolean).join(' · '),
  httpServer: 'HTTP server',
  httpOn: 'on',
  httpOff: 'off',
  inMemory: 'In memory',
  noneKnown: 'not told while it is off',
  models: (n: number) => (n === 1 ? '1 model' : `${n} models`),
  notReached: 'Not reached',
  key: 'Key',
  keyOf: (name: string) => `Key of ${name}`,
  keyGive: 'Give a key',
  keyKeep: 'Keep it',
  keyForget: 'Forget the key',
  keyKept: (place: string) => `Kept in the ${place}.`,
  noVersion: 'The server does not tell its version, or does not run',
  noProcess: 'No process of this server was found',
  notRunning: 'not running',
  doctor: 'Check everything',
  doctorTitle: 'Checks',
};

/** What a found server is. */
export const products: Record<Product, string> = {
  ollama: 'Ollama',
  lmstudio: 'LM Studio',
  'llama-server': 'llama-server',
  openai: 'OpenAI-compatible server',
};

export const orphans = {
  one: (pid: number, memory: string | null) =>
    `A process of an Ollama that died still holds ${memory ?? 'an unknown amount of memory'} (pid ${pid}).`,
  nobody: 'No program uses it any more.',
  end: 'End it and free the memory',
};

/** A container's state; its health and exit code stand behind it. */
export const containerStates: Record<ContainerState, { word: string; tone: Tone }> = {
  created: { word: 'Never started', tone: 'idle' },
  running: { word: 'Running', tone: 'good' },
  paused: { word: 'Paused', tone: 'idle' },
  restarting: { word: 'Restarting', tone: 'busy' },
  stopping: { word: 'Stopping', tone: 'busy' },
  removing: { word: 'Being removed', tone: 'busy' },
  exited: { word: 'Ended', tone: 'idle' },
  dead: { word: 'Dead', tone: 'attention' },
  unknown: { word: 'State not known', tone: 'idle' },
};

/** `null`: there is no health check. */
export const containerHealths: Record<ContainerHealth, string | null> = {
  none: null,
  starting: 'health not known yet',
  healthy: 'healthy',
  unhealthy: 'unhealthy',
};

export const containerProblems: Record<ContainerProblem, { why: string; tone: Tone }> = {
  unhealthy: { why: 'Its health check fails. Programs that use it may get no answer.', tone: 'attention' },
  keeps_restarting: { why: 'It ends again and again, and Docker starts it again each time.', tone: 'bad' },
  failed: { why: 'It has ended with an error. Nothing answers in its place.', tone: 'bad' },
};

export const containers = {
  title: 'Containers',
  absent: (reason: string) => `Containers: ${reason}.`,
  engine: (version: string | null) => (version === null ? null : `Docker ${version}`),
  all: (n: number) => (n === 1 ? '1 container' : `${n} containers`),
  troubled: (n: number) => (n === 1 ? '1 needs attention' : `${n} need attention`),
  inMemory: (memory: string) => `${memory} in memory`,
  none: 'There is none.',
  name: 'Container',
  state: 'State',
  memory: 'Memory',
  cpu: 'CPU',
  ports: 'Ports',
  exitCode: (code: number, outOfMemory: boolean) => (outOfMemory ? `out of memory (code ${code})` : `code ${code}`),
  restarts: (n: number) => (n === 1 ? '1 restart' : `${n} restarts`),
  look: 'Look at its log:',
  log: (name: string) => `docker logs ${name}`,
  cpuMeaning: '100 % is one core fully used',
  noCpu: 'Not running, or read only once so far',
  limit: (source: string, limit: string | null) => (limit === null ? source : `${source}; at most ${limit}`),
};

export const discovery = {
  title: 'On this machine',
  look: 'Look for servers',
  none: 'No language-model server runs on this machine.',
  known: (title: string) => `This is ${title} in the list above.`,
  use: 'Use it',
  useOf: (address: string) => `Use the server at ${address}`,
  notUsed: 'Pilothouse does not use it yet.',
};

export const gauges = {
  title: 'Gauges',
  spans: {
    '15m': { button: '15 min', window: 'last 15 minutes' },
    '1h': { button: '1 h', window: 'last hour, 10 s means' },
    '24h': { button: '24 h', window: 'last 24 hours, 1 min means' },
    '30d': { button: '30 d', window: 'last 30 days, 30 min means' },
  } satisfies Record<Span, { button: string; window: string }>,
  span: 'How far back',
  bandMeaning: 'Line: means; band: least to greatest sample',
  cpu: 'CPU',
  memory: 'Memory',
  swap: 'Swap',
  gpu: 'GPU',
  gpuMemory: 'GPU memory',
  serversMemory: 'Servers',
  cores: (n: number) => `${n} cores`,
  of: (title: string, total: string) => `${title} of ${total}`,
  /** The engine's reason is a whole phrase ("no GPU found: …"). */
  noGpu: (reason: string | null) => reason ?? 'no GPU found',
  own: (cpu: string, memory: string) => `Pilothouse itself: ${cpu} CPU, ${memory}`,
  ownMeaning: 'CPU: 100 % is one core fully used.',
  none: 'No sample yet',
  noneHint: 'The first one comes within a few seconds.',
  stale: (age: string) => `from ${age}`,
  notRead: 'The system did not tell this value',
  /** Under the gauges, one line per GPU. */
  gpuLine: {
    powerOf: (power: string, limit: string) => `${power} of ${limit}`,
    slowed: (reasons: string[]) => `slowed: ${reasons.join(', ')}`,
    /** Two cards of one name. */
    numbered: (name: string, number: number) => `${name} (${number})`,
    missing: (readings: string[], reason: string) => `${readings.join(', ')} not reported: ${reason}`,
    power: 'power',
    temperature: 'temperature',
    clock: 'clock',
    driverSilent: 'the driver does not tell it',
  },
  active: (percent: string) => `at work ${percent} of the time, at whatever clock`,
  shared: 'part of the memory of the machine',
  pressure: { warning: 'getting short', critical: 'short' },
  source: {
    cpu: 'All cores together, from the operating system',
    memory: 'Used memory, from the operating system',
    swap: 'Used swap, from the operating system',
    servers: 'Process trees of all servers together',
  },
};

/** Who holds a part of the memory, in one word, and what that means. */
export const tenantKinds: Record<TenantKind, { word: string; meaning: string }> = {
  instance: { word: 'Models', meaning: 'Models in memory: weights, caches and buffers' },
  mapped_files: { word: 'Files', meaning: 'Files that loaded models read through the page cache' },
  server: { word: 'Servers', meaning: 'What servers use beside their models' },
  orphan: { word: 'Left over', meaning: 'Processes with a model whose Ollama has died' },
  containers: { word: 'Containers', meaning: 'Docker containers' },
  pilothouse: { word: 'Pilothouse', meaning: 'Pilothouse itself' },
  other: { word: 'Other', meaning: 'The system and all other programs' },
};

/** How well a figure of the ledger is known; its source follows. */
export const certainties: Record<Certainty, string> = {
  measured: 'measured',
  reported: 'reported by the server',
  estimated: 'estimated',
  remainder: 'what remains',
};

export const memory = {
  title: 'Memory',
  freeForModels: (size: string) => `${size} free for models`,
  nothingFree: 'nothing free for models',
  more: 'What fits',
  none: 'The memory has not been read yet.',
  noneHint: 'The first reading comes within a few seconds.',
  barOf: (title: string) => `${title}, who holds it`,
  tableOf: (title: string) => `${title}, table`,
  partOf: (part: string, size: string) => `${part}: ${size}`,
  shareOf: (size: string, share: string, whole: string) => `${size}, ${share} of ${whole}`,
  on: (server: string) => `on ${server}`,
  choose: 'Choose a part to see where its number comes from.',
  unit: 'GB',
  part: 'Part',
  size: 'Size',
  share: 'Share',
  source: 'Where the number comes from',
  total: 'Total',
  totalSource: 'as the system tells it; the parts above add up to it',
  pools: 'Who holds it',
  mainMemory: 'Memory of the machine',
  forModels: 'models are placed here',
  parts: {
    free: { title: 'Free for models', source: 'the ceiling less what is in use and the reserve' },
    reserve: { title: 'Reserve', source: 'kept free for what else wants memory in the next moment' },
    beyond: { title: 'Beyond the ceiling', source: 'free, but not for models' },
    forecast: { title: 'Would be needed', source: 'reckoned before loading, not measured' },
  },
  free: { title: 'Free', source: 'the total less all parts' },
  beyondSource: (ceiling: string) => `free, but models may not take it: ${ceiling}`,
  sum: {
    title: 'What models may take',
    ceiling: 'Ceiling',
    inUse: 'less in use',
    inUseSource: 'what nobody can take any more',
    reserve: 'less reserve',
    left: 'free for models',
    leftSource: 'what one more model may take now',
    over: 'over',
    overSource: 'more is in use than ceiling and reserve allow: nothing is free',
  },
  unknown: 'Not in these figures',
} as const;

export const fitVerdicts: Record<FitVerdict, { word: string; tone: Tone }> = {
  fits: { word: 'Fits', tone: 'good' },
  tight: { word: 'Fits, but tightly', tone: 'attention' },
  does_not_fit: { word: 'Does not fit', tone: 'bad' },
};

/** How far a rate may be off. */
const give = (error: number | null) => (error === null ? '' : `\u00a0±${Math.round(error)}\u00a0%`);

/** What of a model takes memory. */
export const partKinds: Record<PartKind, string> = {
  weights: 'Weights',
  kv_cache: 'KV cache',
  compute: 'Buffers',
  runner: 'Runner',
  learned: 'Learned from earlier loads',
};

export const whatIf = {
  title: 'What if',
  intro: 'Choose models to see whether they fit beside what runs now. Nothing is loaded.',
  models: 'Models',
  filter: 'Filter',
  noModels: 'No server reports a model yet. A typical size can be asked about all the same.',
  noMatch: (filter: string) => `No model matches “${filter}”.`,
  sizes: 'Typical sizes',
  sizesExample: '7b, 70b:q2_k',
  context: 'Context',
  tokens: (n: number) => `${n} tokens`,
  parallel: 'Requests at a time',
  kv: 'KV cache in',
  asServer: 'as its server loads it',
  reset: 'As its server loads it',
  nothing: 'No model is chosen.',
  reckoning: 'Reckoning',
  needs: (need: string) => `needs about ${need}`,
  free: (free: string) => `${free} free`,
  left: (left: string) => `${left} left`,
  lacks: (size: string) => `${size} more than is free`,
  replaces: 'What these models hold now is counted as free.',
  partsTitle: 'What is needed',
  part: 'Part',
  offers: 'What would make it fit',
  noOffers: 'Nothing simple would make it fit.',
  offerNeeds: (size: string, cost: string) => `needs about ${size}; ${cost}`,
  evicts: (models: string) => `Loading it would push out: ${models}.`,
  rate: (rate: string, error: number | null) => `about ${rate}${give(error)}`,
  measuredRate: (rate: string, error: number | null) => `${rate}${give(error)}`,
  prefill: (rate: string) => `prompts at ${rate}`,
  noPrefill: (reason: string) => `prompts: not known, ${reason}`,
  forecast: 'Forecast, not measured:',
  measured: 'Measured here:',
  from: (source: string) => `from ${source}`,
  noForecast: (reason: string) => `none: ${reason}`,
  together: 'What fits together',
  togetherIntro: 'Sets of the models here to which no other could be added; what is loaded counts as free.',
  togetherOf: (free: string) => `of ${free}`,
  togetherNone: 'No model of known size fits.',
  togetherMore: (n: number) => `The ${n} with the largest models; there are more.`,
  tooLarge: 'Too large even alone',
  sizeUnknown: 'Size not known',
  set: 'Models',
  setNeeds: 'Need about',
  setLeft: 'Left',
} as const;

/** How GPU and processor share memory. */
export const memoryKinds: Record<MemoryKind, string> = {
  unified: 'shared by processor and GPU',
  separate: 'of the processor',
};

export const machine = {
  title: 'Machine',
  loading: 'Reading the machine',
  model: 'Model',
  chip: 'Chip',
  cores: 'Cores',
  performance: (n: number) => `${n} performance`,
  efficiency: (n: number) => `${n} efficiency`,
  allCores: (n: number) => `${n}, all alike`,
  memory: 'Memory',
  bandwidth: 'Bandwidth',
  rate: (figure: string) => `${figure} GB/s`,
  gpu: 'GPU',
  gpuCores: (n: number) => `${n} cores`,
  gpuMemory: (size: string) => `${size} of its own`,
  compute: (capability: string) => `compute capability ${capability}`,
  driverIs: (driver: string) => `driver ${driver}`,
  limit: 'GPU limit',
  limitSource: 'set by iogpu.wired_limit_mb',
  neural: 'Neural Engine',
  neuralUse: 'not used by the servers',
  metal: 'Metal',
  os: 'System',
  driver: 'GPU driver',
  noGpu: 'none found',
  notTold: 'The system did not tell it',
} as const;

export const bench = {
  title: 'Benchmark',
  model: 'Model',
  activeModel: 'Active model',
  plan: 'Plan',
  plans: [
    ['quick', 'Quick'],
    ['standard', 'Standard'],
  ] as [string, string][],
  start: 'Start benchmark',
  again: 'Run again',
  noModel: 'A benchmark needs a model: switch to one first.',
  warmup: (done: number, most: number) => `Warm-up ${done} of at most ${most}`,
  trial: (k: number, n: number) => `Trial ${k} of ${n}`,
  starting: 'Preparing',
  lastRate: (rate: string) => `last ${rate}`,
  runs: 'Last runs',
  none: 'No benchmark has been run yet.',
  noneHint: 'A quick one takes about half a minute and shows how fast the active model answers here.',
  noneMatch: 'No run matches this filter.',
  last: 'Last benchmark',
  time: 'Time',
  server: 'Server',
  decode: 'Decode',
  prefill: 'Prefill',
  ttft: 'First token',
  trials: 'Trials',
  tableOf: (title: string) => `${title}, table`,
  state: 'State',
  interval: '95 % interval',
  spread: 'decode tok/s, median and interval',
  unitRate: 'tok/s',
  intervalMeaning: (n: number) =>
    n < 6 ? `Median of ${n}; low and high are the smallest and largest value` : `Median of ${n} with its 95 % interval`,
  noFigure: 'This run has no figure for it',
  runTitle: (model: string, server: string) => `${model} on ${server}`,
  client: 'Client clock',
  serverFigures: 'Server’s own figures',
  figures: 'Figures',
  everyTrial: 'Every trial, decode tok/s',
  perTrial: 'Trials',
  warmups: 'Warm-ups, not counted',
  fingerprint: 'Measured on',
  noFingerprint: 'Nothing about the machine was recorded.',
  peak: 'Peak memory',
  total: 'Whole request',
  output: 'Output tokens',
  prompt: 'Prompt tokens',
  cached: 'Cached',
  finish: 'Ended by',
  flaw: 'Does not count because',
  planIs: (words: number, tokens: number, trials: number) =>
    `${words} words in, ${tokens} tokens out, ${trials} trials`,
  loading: 'Reading the run',
  trace: 'Gauges during the run',
  traceMeaning: 'Least to greatest value, from the begin of the run to its end',
  noTrace: 'Of this run the gauges were not kept.',
  traceColumns: {
    cpu_percent: 'CPU',
    memory_used_bytes: 'Memory',
    swap_used_bytes: 'Swap',
    gpu_load_percent: 'GPU',
    gpu_memory_used_bytes: 'GPU memory',
    gpu_power_w: 'GPU power',
    servers_memory_bytes: 'Servers',
  } satisfies Record<Column, string>,
  between: (low: string, high: string) => (low === high ? low : `${low} – ${high}`),
};

export const history = {
  title: 'History',
  model: 'Model name',
  server: 'Server',
  all: 'All servers',
  over: 'Decode over time',
  overMeaning: 'One plot per model and server; dots are medians, lines their intervals.',
  loading: 'Reading history',
  onePoint: 'A second run of the same model draws a line in time.',
};

export const tryIt = {
  title: 'Try it',
  prompt: 'Prompt',
  placeholder: 'Ask the active model',
  ask: 'Ask',
  stop: 'Stop',
  noModel: 'Nothing can answer: no model is active.',
  waiting: 'Waiting for the first token',
  by: (model: string, server: string) => `${model} on ${server}`,
  tokens: (n: number) => (n === 1 ? '1 token' : `${n} tokens`),
  stopped: 'Stopped before the end.',
  empty: 'The model answered with nothing.',
};

export const log = {
  title: 'Log',
  server: 'Server',
  search: 'Search lines',
  follow: 'Follow',
  none: 'No line yet.',
  noMatch: 'No line of these contains that.',
  earlier: 'Search earlier days too',
  found: (n: number) => (n === 0 ? 'No line of any day contains that.' : n === 1 ? '1 line found' : `${n} lines found`),
  matches: 'Lines found',
  noServer: 'There is no server to show a log of.',
  lines: 'Lines',
  loading: 'Reading the log',
};

export const notices = {
  title: 'Notices',
  trouble: 'Trouble in Pilothouse',
  more: (n: number) => (n === 1 ? '1 more' : `${n} more`),
};

export const setup = {
  title: 'Nothing can answer yet',
  titleServer: 'No model yet',
  intro: 'What was found on this machine:',
  llamaServer: 'llama-server',
  model: 'A model for it',
  found: 'found',
  missing: 'not found',
  modelMissing: 'none yet',
  machine: 'Machine',
  button: 'Fetch llama-server and a small model (158 MB)',
  what: 'llama-server (65 MB) and SmolLM2 135M (93 MB, Apache-2.0) are checked against known hashes and stay in Pilothouse’s own folder.',
  fromSource: 'Build llama-server from source instead',
  progress: (done: string, total: string) => `${done} of ${total}`,
  progressOpen: (done: string) => `${done} so far`,
  started: 'Starting',
};
