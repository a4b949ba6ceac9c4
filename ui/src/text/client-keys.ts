/** Words of the keys of client programs, on the page Connect. */
import type { KeyScope } from '../api/KeyScope';

export const keyScopes: Record<KeyScope, { word: string; choice: string }> = {
  inference: { word: 'ask', choice: 'ask models' },
  read: { word: 'look', choice: 'see which models there are' },
};

export const clientKeys = {
  title: 'Keys',
  group: 'Access',
  lead: 'A key names a program, and says what it may use and how much. Only its hash is kept.',
  required: 'Every program needs one.',
  notRequired: 'Programs of this machine need none.',
  change: 'Change that',
  loading: 'Reading the keys',
  none: 'There are no keys yet.',
  name: 'Key',
  may: 'May',
  models: 'Models',
  limit: 'Limit',
  used: 'Last used',
  acts: 'Acts',
  all: 'all',
  unlimited: 'none',
  never: 'never',
  underWay: (n: number) => (n === 1 ? '1 answer under way' : `${n} answers under way`),
  atOnce: (n: number) => `${n} at a time`,
  tokens: (n: string) => `${n} tokens a minute`,
  limited: (n: number) => (n === 1 ? 'refused once since the start' : `refused ${n} times since the start`),
  add: 'New key',
  addTitle: 'New key',
  nameHint: 'Of a program or a person: it stands in Traffic',
  nameExample: 'open-webui',
  modelsHint: 'Names that it may ask by and models, apart by commas; * stands for any characters',
  modelsExample: 'all',
  atOnceLabel: 'Requests at a time',
  tokensLabel: 'Tokens a minute',
  tokensHint: 'Of prompts and answers together',
  noLimit: 'no limit',
  make: 'Make the key',
  making: 'Making',
  made: (name: string) => `The key ${name}`,
  once: 'Copy it now: it is shown this once, and kept nowhere.',
  send: 'A program sends it as “Authorization: Bearer …” or “x-api-key: …”; it takes the place of “pilothouse” in the lines of an app.',
  done: 'Done',
  revoke: 'Revoke',
  revokeOf: (name: string) => `Revoke ${name}`,
  ends: (name: string, underWay: number) =>
    `Whoever uses ${name} is refused from the next request on, for good.` +
    (underWay === 0 ? '' : ` ${clientKeys.underWay(underWay)} ${underWay === 1 ? 'goes' : 'go'} on to the end.`),
  revoked: (name: string) => `${name} is revoked.`,
  noWrong: 'No wrong key since the start.',
  wrong: (n: number, at: string) =>
    n === 1 ? `1 wrong key since the start, ${at}.` : `${n} wrong keys since the start, the last ${at}.`,
};
