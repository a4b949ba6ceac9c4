/** Words for states and codes that more than one page shows. */
import type { CheckResult } from '../api/CheckResult';
import type { ErrorCode } from '../api/ErrorCode';
import type { LogSource } from '../api/LogSource';
import type { MemoryMeasure } from '../api/MemoryMeasure';
import type { ModelPurpose } from '../api/ModelPurpose';
import type { NoticeLevel } from '../api/NoticeLevel';
import type { Ownership } from '../api/Ownership';
import type { RowAct } from '../api/RowAct';
import type { SwitchOutcome } from '../api/SwitchOutcome';
import type { SwitchPhase } from '../api/SwitchPhase';
import type { Tone } from '../api/Tone';

/** What went wrong, as a heading; the engine's message follows it. */
export const errors: Record<ErrorCode, string> = {
  invalid_call: 'That cannot be asked this way',
  not_found: 'Not found',
  ambiguous: 'More than one fits that name',
  busy: 'Something else is under way',
  not_ours: 'Not started by Pilothouse',
  not_installed: 'Not installed',
  does_not_fit: 'Does not fit into memory',
  pinned: 'It is pinned',
  unsupported: 'This server cannot do that',
  cancelled: 'Cancelled',
  not_quiet: 'The machine is not quiet',
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
  spans_lost: 'The collector is not told',
  shortcut_not_heard: 'The shortcut is not heard',
  no_active_model: 'No active model',
  not_running: 'The server does not run',
  already_running: 'Already running',
  system: 'The system refused',
  internal: 'A fault in Pilothouse',
};

export type { Tone };

/** What a click on a row does; the name of the model follows. */
export const rowActs: Record<RowAct, string> = {
  none: '',
  switch: 'Switch to',
  load: 'Load',
  start_and_load: 'Start and load',
  cancel: 'Cancel',
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

export const noticeLevels: Record<NoticeLevel, { word: string; tone: Tone }> = {
  info: { word: 'For information', tone: 'idle' },
  attention: { word: 'Needs attention', tone: 'attention' },
  problem: { word: 'Problem', tone: 'broken' },
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
  fail: { word: 'broken', tone: 'broken' },
  skipped: { word: 'not checked', tone: 'idle' },
};
