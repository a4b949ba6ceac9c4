/** Words of the page Settings. The titles and meanings of the keys come from the engine. */
import type { SettingGroup } from '../api/SettingGroup';
import { count } from '../format';

export const settingGroups: Record<SettingGroup, string> = {
  general: 'General',
  tray_and_notices: 'Tray and notices',
  gauges: 'Gauges',
  one_address: 'One address',
  other_computers: 'Other computers',
  switching: 'Switching',
  memory: 'Memory',
  scenes: 'Scenes',
  benchmarks: 'Benchmarks',
  data_kept: 'Data kept',
  lm_studio: 'LM Studio',
  ollama: 'Ollama',
  llama_server: 'llama-server',
};

export const settings = {
  groups: 'Groups',
  servers: 'Servers',
  search: 'Search settings',
  searchHint: 'Search',
  reading: 'Reading the settings',
  saved: 'Saved as you change them.',
  saving: 'Saving',
  differ: (n: number) => (n === 0 ? 'All have their defaults.' : `${n} differ from the defaults.`),
  found: (n: number) => (n === 0 ? 'No setting has these words.' : `${count(n, 'setting')} found.`),
  showAll: 'Show all',
  file: 'The settings file',
  copyPath: 'Copy path',
  byDefault: 'default',
  defaultIs: (words: string) => `default ${words}`,
  reset: 'Reset',
  resetOf: (title: string) => `Reset ${title}`,
  on: 'On',
  off: 'Off',
  none: 'none',
  listHint: 'with commas between',
  /** Heard, not seen. */
  unitHeard: { s: 'seconds', ms: 'milliseconds' } as Record<string, string>,
  inFile: 'In the file',
  onServers: 'Servers',
  use: (words: string) => `Use ${words}`,
  backTo: (words: string) => `Back to ${words}`,
  isNow: (title: string, value: string, waits: boolean) =>
    waits ? `${title} is ${value} after a restart.` : `${title} is ${value} now.`,
  inForce: (what: string) => `${what} has started again. What was set is in force.`,
  afterRestart: 'after a restart',
  waits: (n: number, what: string) =>
    n === 1 ? `One change waits for a restart of ${what}.` : `${n} changes wait for a restart of ${what}.`,
  restart: (what: string) => `Restart ${what}`,
  restarting: (what: string) => `Restarting ${what}`,
  start: (what: string) => `Start ${what}`,
  restartCosts: (models: string[], time: string | null) => {
    const who =
      models.length === 1 ? `${models[0]} leaves` : `${models.slice(0, -1).join(', ')} and ${models.at(-1)} leave`;
    const back = time === null ? '' : `, ${time} to load ${models.length === 1 ? 'it' : 'them'} again`;
    return `${who} memory${back}.`;
  },
  runsSince: (when: string) => `Running since ${when}.`,
  hidden: 'kept back',
  more: (n: number) => `${n} more in the file`,
  quitFirst: 'Quit Pilothouse and start it again.',
  whenStarted: (what: string) => `Somebody else started this ${what}; in force with one that Pilothouse starts.`,
  mistake: 'The settings file has a mistake, so nothing can be changed here. These values hold.',
  changedOutside: 'The file was changed outside this page; this is what it says now.',
  wrong: 'not taken',
} as const;
