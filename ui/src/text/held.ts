/** Words of what runs of loads and of copies in memory show, and of requests at a time as a setting. */
import type { LoadFrom } from '../api/LoadFrom';

export const loads = {
  title: 'Loads',
  from: { page_cache: 'From the page cache', disk: 'From disk' } satisfies Record<LoadFrom, string>,
  fromMeaning: {
    page_cache: 'The system still had the file in memory, as it usually has after a first load',
    disk: 'The file was dropped from the page cache before, and it was seen that it was',
  } satisfies Record<LoadFrom, string>,
  columns: {
    from: 'Cold load',
    loads: 'Loads',
    load: 'Load, s',
    cold: 'First token after it, ms',
    warm: 'Next first token, ms',
    rate: 'Weights, GB/s',
  },
  noDisk: (loads: number, why: string) =>
    loads === 0 ? `Not measured from disk: ${why}` : `Only ${loads} from disk: ${why}`,
  flawed: (number: number, flaw: string) => `Load ${number} does not count: ${flaw}.`,
};

export const copies = {
  title: 'Copies in memory',
  note: 'One request at a time of each copy; not to be mixed up with several requests at a time of one.',
  columns: {
    copies: 'Copies',
    all: 'All, tok/s',
    each: 'Each, tok/s',
    ttft: 'First token',
    p95: '95 % within',
    memory: 'Memory of the server',
    requests: 'Requests',
  },
};

export const parallel = {
  use: (n: number) => (n === 1 ? 'Use 1 at a time' : `Use ${n} at a time`),
  meaning: (model: string) =>
    `Starts the server again with this setting, proves ${model} by a token, then writes the settings file. Requests wait meanwhile.`,
  underWay: (n: number) => `Setting ${n} at a time: the server starts again`,
  undoing: 'Taking it back: the server starts again',
  cancel: 'Cancel',
  done: (model: string, n: number) => `${model} answers ${n} at a time now.`,
  already: (model: string, n: number) => `${model} answers ${n} at a time already.`,
  undone: (model: string, n: number) =>
    n === 0
      ? `${model} answers as many at a time as its server chooses again.`
      : `${model} answers ${n} at a time again.`,
  undo: (seconds: number) => `Undo (${seconds}\u00a0s)`,
};
