/** Words of the page Servers. */
import type { KeyPlace } from '../api/KeyPlace';
import type { Product } from '../api/Product';

/** Where a key is kept. */
export const keyPlaces: Record<KeyPlace, string> = {
  keyring: 'keyring of this system',
  file: 'data folder, in a file that only you can read',
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

export const discovery = {
  title: 'On this machine',
  look: 'Look for servers',
  none: 'No language-model server runs on this machine.',
  known: (title: string) => `This is ${title} in the list above.`,
  use: 'Use it',
  useOf: (address: string) => `Use it: the server at ${address}`,
  notUsed: 'Pilothouse does not use it yet.',
};
