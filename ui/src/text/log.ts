/** Words of the page Log. */
import { count } from '../format';
import type { LogLevel } from '../log';

export const log = {
  title: 'Log',
  server: 'Server',
  search: 'Search lines',
  follows: 'Following',
  paused: 'Paused',
  toEnd: (n: number) => (n === 0 ? 'To the end' : n === 1 ? '1 new line' : `${n} new lines`),
  shown: (n: number, all: number) => (n === all ? count(all, 'line') : `${n} of ${count(all, 'line')}`),
  probes: (n: number) => (n === 1 ? '1 probe of Pilothouse folded' : `${n} probes of Pilothouse folded`),
  probesOpen: (n: number) => (n === 1 ? '1 probe of Pilothouse' : `${n} probes of Pilothouse`),
  probesMeaning:
    'Questions for health, slots and models that went well, as Pilothouse asks them again and again; another program may ask the same.',
  levels: { error: 'Error', warning: 'Warning' } satisfies Record<LogLevel, string>,
  copyAll: 'Copy all',
  copySelection: 'Copy selection',
  copied: (n: number) => count(n, 'line'),
  none: 'No line yet.',
  noMatch: 'No line of these contains that.',
  earlier: 'Search earlier days too',
  found: (n: number) => (n === 0 ? 'No line of any day contains that.' : n === 1 ? '1 line found' : `${n} lines found`),
  matches: 'Lines found',
  noServer: 'There is no server to show a log of.',
  lines: 'Lines',
  loading: 'Reading the log',
};
