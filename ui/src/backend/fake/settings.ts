/** The simulated settings file: the engine's own keys, ranges and words, and its refusals. */
import type { ApiError } from '../../api/ApiError';
import type { Call } from '../../api/Call';
import type { SettingKey } from '../../api/SettingKey';
import type { SettingsView } from '../../api/SettingsView';
import described from '../../api/setting-keys.json';

interface Described {
  about: SettingKey;
  default: unknown;
  allowed: string;
}

const keys = described as unknown as Described[];

/** Tables with something in them. */
export const tables = {
  'servers.remote': { studio: { enabled: true, address: 'http://studio.local:11434/v1', title: 'Studio' } },
  'servers.ollama.environment': { OLLAMA_NUM_GPU: '1', HF_TOKEN: 'hf_invented' },
  'servers.llama-server.models': {
    'gemma-3-270m-it-Q4_K_M': { context: 8192, parallel: 2, kv_type: null, options: {} },
  },
};

export class FakeSettings {
  /** What stands in the file. */
  #written: Map<string, unknown>;
  /** By what the servers were started. */
  #inForce: Map<string, unknown>;
  #edits = 0;
  /** The number of the last edit by somebody else, and what it changed. */
  #foreign = { edit: 0, said: '' };
  /** The file's mistake. */
  mistake: string | null = null;

  constructor(written: Record<string, unknown> = {}) {
    this.#written = new Map(Object.entries(written));
    this.#inForce = new Map(keys.map((key) => [key.about.key, this.#value(key)]));
  }

  view(): SettingsView {
    return {
      settings: keys.map((key) => ({
        about: key.about,
        value: this.#value(key),
        default: key.default,
        written: this.#written.has(key.about.key),
        waits: key.about.restart !== null && !same(this.#value(key), this.#inForce.get(key.about.key)),
      })),
      path: '/home/you/.config/pilothouse/settings.toml',
      digest: this.mistake === null ? `text-${this.#edits}` : null,
      trouble: this.mistake === null ? null : fault('settings_invalid', this.mistake, 'Correct the file.'),
    };
  }

  /** Throws as the engine refuses. */
  set(call: Extract<Call, { call: 'set_setting' }>): SettingsView {
    const key = keys.find((one) => one.about.key === call.key);
    if (key === undefined) throw fault('not_found', `There is no setting ${call.key}.`);
    if (this.mistake !== null) throw fault('settings_invalid', this.mistake);
    // Only what somebody else has changed since then counts.
    if (call.digest !== undefined && Number(call.digest.replace('text-', '')) < this.#foreign.edit) {
      throw fault(
        'busy',
        `The settings file was changed by somebody else meanwhile: ${this.#foreign.said}. Nothing was written.`,
        'Look at what it says now, then set it again.',
      );
    }
    const value = call.value === null ? key.default : call.value;
    const wrong = this.#wrong(key, value);
    if (wrong !== null) {
      const text = `${key.about.title} (${key.about.key}) ${wrong}. Nothing was written.`;
      throw fault('invalid_call', text, wrong.startsWith('must') ? null : `Allowed: ${key.allowed}.`);
    }
    if (!same(value, this.#value(key))) {
      this.#written.set(key.about.key, value);
      this.#edits += 1;
    }
    return this.view();
  }

  /** Somebody saves the file in an editor. */
  edit(key: string, value: unknown): void {
    this.#written.set(key, value);
    this.#edits += 1;
    this.#foreign = { edit: this.#edits, said: `${key} is ${JSON.stringify(value)} now` };
  }

  /** A server has started again, with what stands in the file. */
  started(server: string): void {
    for (const key of keys) {
      const { restart } = key.about;
      if (restart?.of === 'server' && restart.server === server) this.#inForce.set(key.about.key, this.#value(key));
    }
  }

  /** What the file says of a key now. */
  valueOf(key: string): unknown {
    return this.#valueOf(key);
  }

  /** A table that calls of its own write: scenes, other names. */
  table<T>(key: string): Record<string, T> {
    return { ...(this.#valueOf(key) as Record<string, T>) };
  }

  /** With `dry_run` it is only refused where writing would be. */
  setTable(key: string, value: Record<string, unknown>, dry_run = false): void {
    if (this.mistake !== null) throw fault('settings_invalid', this.mistake, 'Correct the file.');
    if (dry_run) return;
    this.#written.set(key, value);
    this.#edits += 1;
  }

  #value(key: Described): unknown {
    return this.#written.has(key.about.key) ? this.#written.get(key.about.key) : key.default;
  }

  #valueOf(dotted: string): unknown {
    const key = keys.find((one) => one.about.key === dotted);
    return key === undefined ? undefined : this.#value(key);
  }

  /** What the engine would say against it. */
  #wrong(key: Described, value: unknown): string | null {
    const { kind } = key.about;
    const cannot = `cannot be ${JSON.stringify(value)}`;
    const isLine = (text: unknown) => typeof text === 'string' && !/[\n\r\t]/.test(text);
    switch (kind.is) {
      case 'switch':
        return typeof value === 'boolean' ? null : cannot;
      case 'number': {
        if (typeof value !== 'number' || !Number.isInteger(value)) return cannot;
        if (value < kind.least || value > kind.most) return cannot;
        const low = kind.not_below === null ? null : this.#valueOf(kind.not_below);
        if (typeof low === 'number' && value < low && !(value === 0 && kind.zero !== null)) {
          return `must be ${String(kind.not_below)} to ${kind.most}`;
        }
        const high = kind.not_above === null ? null : this.#valueOf(kind.not_above);
        if (typeof high === 'number' && value > high && !(high === 0 && kind.zero !== null)) {
          return `must be at most ${String(kind.not_above)}`;
        }
        return null;
      }
      case 'choice':
        return kind.choices.some((choice) => choice.value === value) ? null : cannot;
      case 'text':
        if (!isLine(value) || (value === '' && kind.empty === null)) return cannot;
        if (key.about.key.endsWith('.address') && value !== '' && !/^http:\/\//.test(String(value))) {
          return 'must be an address such as http://127.0.0.1:11434';
        }
        return null;
      case 'path':
        return isLine(value) ? null : cannot;
      case 'list':
        if (!Array.isArray(value) || new Set(value).size !== value.length || !value.every(isLine)) return cannot;
        return value.every((name) => /^[\w.-]+$/.test(String(name)))
          ? null
          : 'must be names such as "host.docker.internal", without scheme, port, path and *';
      case 'table':
        return cannot;
    }
  }
}

function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

function fault(code: ApiError['code'], message: string, hint: string | null = null): ApiError {
  return { code, message, hint, retry: false };
}
