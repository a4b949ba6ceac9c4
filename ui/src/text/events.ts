/** Words of the events band and of the page Events. */
import type { NoticeAct } from '../api/NoticeAct';
import type { NoticeKind } from '../api/NoticeKind';

export const noticeKinds: Record<NoticeKind, string> = {
  switch: 'switch',
  server: 'server',
  benchmark: 'benchmark',
  container: 'container',
  pilothouse: 'Pilothouse',
};

export const noticeActs: Record<NoticeAct['act'], string> = {
  show_log: 'Show log',
  start_again: 'Start again',
  show_run: 'Show run',
  show_containers: 'Show containers',
  undo: 'Undo',
};

export const notices = {
  title: 'Events',
  none: 'Nothing to report.',
  more: (n: number) => `${n} more`,
};

export const events = {
  server: 'Server',
  allServers: 'All servers',
  level: 'Level',
  allLevels: 'All levels',
  kind: 'Kind',
  allKinds: 'All kinds',
  loading: 'Reading the events',
  none: 'Nothing to report.',
  newer: 'Newer',
  older: 'Older',
  pageOf: (from: number, to: number, all: number) =>
    from === 1 && to === all ? (all === 1 ? '1 event' : `${all} events`) : `${from} – ${to} of ${all} events`,
  noneMatch: 'No event matches this filter.',
  meaning: 'Crashes, restarts, switches that were put back and the like are listed here; the newest 2,000 are kept.',
};
