/** Whether the failure of the last switch is still worth a warning, as the engine's `domain::standing` says it. What the settings
 * keep off the GPU is not simulated. */
import type { ErrorCode } from '../../api/ErrorCode';
import type { ModelRef } from '../../api/ModelRef';
import type { Snapshot } from '../../api/Snapshot';
import type { SwitchReport } from '../../api/SwitchReport';

/** What was missing was the server. */
const OF_SERVERS: ErrorCode[] = [
  'not_installed',
  'not_ours',
  'port_taken',
  'server_crashed',
  'unreachable',
  'unauthorized',
  'cpu_too_old',
];

/** Why the last switch to this model failed, while that stands. */
export function failureOf(snapshot: Snapshot, model: ModelRef): string | null {
  const last = snapshot.last_switch;
  if (last === null || last.to.server !== model.server || last.to.model !== model.model) return null;
  return stands(last, snapshot) ? (last.error?.message ?? last.reason) : null;
}

function stands(last: SwitchReport, snapshot: Snapshot): boolean {
  if (last.outcome !== 'rolled_back') return false;
  const told = snapshot.notices.some(({ level, server }) => level !== 'info' && server === last.to.server);
  return told && !isOver(last, snapshot);
}

function isOver(last: SwitchReport, snapshot: Snapshot): boolean {
  const server = snapshot.servers.find((one) => one.id === last.to.server);
  if (server === undefined) return true;
  const isReady = server.state === 'ready';
  const view = snapshot.models.find((one) => one.server === last.to.server && one.name === last.to.model);
  if (view === undefined ? isReady : view.loaded) return true;
  const code = last.error?.code;
  if (code !== undefined && OF_SERVERS.includes(code)) return isReady;
  if (code !== 'does_not_fit') return false;
  const needed = view?.needed_bytes ?? view?.size_bytes ?? null;
  return needed !== null && snapshot.ledger !== null && needed <= snapshot.ledger.headroom_bytes;
}
