/** What the page Settings knows of the file, and how it changes it. */
import type { ApiError } from './api/ApiError';
import type { Call } from './api/Call';
import type { Reply } from './api/Reply';
import type { SettingGroup } from './api/SettingGroup';
import type { SettingKind } from './api/SettingKind';
import type { SettingsView } from './api/SettingsView';
import type { SettingView } from './api/SettingView';
import { asApiError, expectReply } from './backend/backend';
import { settings as words } from './text';

/** A value that was not taken. */
export interface Refused {
  tried: unknown;
  error: ApiError;
}

export class SettingsFile {
  view = $state.raw<SettingsView | null>(null);
  /** Why the file could not be asked for. */
  unread = $state.raw<ApiError | null>(null);
  /** What was not taken, by key. */
  refused = $state.raw<Record<string, Refused>>({});
  /** Somebody else has changed the file; null: nobody has. */
  outside = $state.raw<string | null>(null);
  saving = $state(0);
  /** What was written last, for those who do not see it. */
  said = $state('');

  readonly #call: (call: Call) => Promise<Reply>;
  /** One change after the other: each names the file as the one before has left it. */
  #last: Promise<void> = Promise.resolve();

  constructor(call: (call: Call) => Promise<Reply>) {
    this.#call = call;
  }

  /** Reads the file again, and says so when it is another one than was shown. */
  read(): Promise<void> {
    return this.#inTurn(async () => {
      const before = this.view?.digest;
      try {
        const { settings } = expectReply(await this.#call({ call: 'settings' }), 'settings');
        if (before !== undefined && before !== null && settings.digest !== before) this.outside = words.changedOutside;
        this.view = settings;
        this.unread = null;
      } catch (error) {
        this.unread = asApiError(error);
      }
    });
  }

  /** Writes a value; null puts the default back. */
  set(key: string, value: unknown): Promise<void> {
    this.saving += 1;
    return this.#inTurn(async () => {
      try {
        const digest = this.view?.digest ?? undefined;
        const call: Call = { call: 'set_setting', key, value };
        if (digest !== undefined) call.digest = digest;
        this.view = expectReply(await this.#call(call), 'settings').settings;
        this.outside = null;
        this.forget(key);
        this.#say(key);
      } catch (error) {
        await this.#wasRefused(key, value, asApiError(error));
      } finally {
        this.saving -= 1;
      }
    });
  }

  #say(key: string): void {
    const setting = this.view?.settings.find(({ about }) => about.key === key);
    if (setting === undefined) return;
    const { title, kind } = setting.about;
    this.said = words.isNow(title, valueWords(kind, setting.value), setting.waits);
  }

  /** A value that was not taken is no longer wanted. */
  forget(key: string): void {
    const { [key]: _, ...others } = this.refused;
    this.refused = others;
  }

  async #wasRefused(key: string, tried: unknown, error: ApiError): Promise<void> {
    if (error.code !== 'busy') {
      this.refused = { ...this.refused, [key]: { tried, error } };
      return;
    }
    this.forget(key);
    try {
      this.view = expectReply(await this.#call({ call: 'settings' }), 'settings').settings;
    } catch (failure) {
      this.unread = asApiError(failure);
    }
    this.outside = error.message;
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    this.#last = this.#last.then(work);
    return this.#last;
  }
}

export function isDefault(setting: SettingView): boolean {
  return same(setting.value, setting.default);
}

export function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** A value as people read it. */
export function valueWords(kind: SettingKind, value: unknown): string {
  switch (kind.is) {
    case 'switch':
      return value === true ? words.on : words.off;
    case 'number':
      if (value === 0 && kind.zero !== null) return `0, ${kind.zero}`;
      return kind.unit === null ? String(value) : `${String(value)}\u00a0${kind.unit}`;
    case 'choice':
      return kind.choices.find((choice) => choice.value === value)?.words ?? String(value);
    case 'text':
      return value === '' ? (kind.empty ?? words.none) : String(value);
    case 'path':
      return value === '' ? kind.empty : String(value);
    case 'list':
      return listOf(value).join(', ') || words.none;
    case 'table':
      return namesIn(value).join(', ') || words.none;
  }
}

/** The texts of a list. */
export function listOf(value: unknown): string[] {
  return Array.isArray(value) ? value.map(String) : [];
}

/** The names in a table. */
export function namesIn(value: unknown): string[] {
  return typeof value === 'object' && value !== null ? Object.keys(value) : [];
}

/** What may be a secret is not shown to whoever looks over a shoulder. */
const SECRET = /key|token|secret|password/i;

/** What stands in a table: each name with what it says. */
export function entriesOf(table: unknown): [string, string][] {
  return namesIn(table).map((name) => {
    const value = (table as Record<string, unknown>)[name];
    if (typeof value !== 'object' || value === null) return [name, SECRET.test(name) ? words.hidden : String(value)];
    const parts = Object.entries(value).filter(([, part]) => part !== null && part !== '' && !isEmpty(part));
    return [name, parts.map(([part, of]) => `${part.replaceAll('_', ' ')} ${plain(part, of)}`).join(', ')];
  });
}

function plain(name: string, value: unknown): string {
  if (SECRET.test(name)) return words.hidden;
  if (typeof value !== 'object' || value === null) return String(value);
  return Object.entries(value)
    .map(([part, of]) => `${part} ${plain(part, of)}`)
    .join(', ');
}

const isEmpty = (value: unknown) => typeof value === 'object' && value !== null && Object.keys(value).length === 0;

/** What was typed as a value. What cannot be one stays a text: the engine says what is allowed. */
export function typed(kind: SettingKind, text: string): unknown {
  const trimmed = text.trim();
  if (kind.is === 'number') return /^-?\d+$/.test(trimmed) ? Number(trimmed) : trimmed;
  if (kind.is !== 'list') return trimmed;
  return trimmed
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

/** A number beyond its range has a nearest one that is allowed by itself. */
export function nearestAllowed(kind: SettingKind, tried: unknown): number | null {
  if (kind.is !== 'number' || typeof tried !== 'number') return null;
  if (tried < kind.least) return kind.least;
  return tried > kind.most ? kind.most : null;
}

/** Why it was not taken, without the name that stands beside it. */
export function refusalWords({ about }: SettingView, { error }: Refused): string {
  const lead = `${about.title} (${about.key}) `;
  const said = error.message.startsWith(lead) ? error.message.slice(lead.length) : error.message;
  const short = said.replace(/ Nothing was written\.$/, '');
  return [short.charAt(0).toLocaleUpperCase('en') + short.slice(1), error.hint].filter(Boolean).join(' ');
}

/** Whether a setting has all these words, in whatever it says of itself. */
export function isFound(setting: SettingView, group: string, search: string): boolean {
  const { title, meaning, key } = setting.about;
  const text = `${title} ${meaning} ${key} ${group}`.toLocaleLowerCase();
  return search
    .toLocaleLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

/** The settings by group, in their order. */
export function grouped(list: readonly SettingView[]): { group: SettingGroup; settings: SettingView[] }[] {
  const groups: { group: SettingGroup; settings: SettingView[] }[] = [];
  for (const setting of list) {
    const known = groups.find((one) => one.group === setting.about.group);
    if (known) known.settings.push(setting);
    else groups.push({ group: setting.about.group, settings: [setting] });
  }
  return groups;
}

/** What waits for what: null is Pilothouse itself. */
export function waitingFor(list: readonly SettingView[]): { server: string | null; settings: SettingView[] }[] {
  const waits: { server: string | null; settings: SettingView[] }[] = [];
  for (const setting of list) {
    if (!setting.waits || setting.about.restart === null) continue;
    const server = setting.about.restart.of === 'server' ? setting.about.restart.server : null;
    const known = waits.find((one) => one.server === server);
    if (known) known.settings.push(setting);
    else waits.push({ server, settings: [setting] });
  }
  return waits;
}
