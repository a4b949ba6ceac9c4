// Keys of client programs, with secrets that open nothing.

import type { Call } from '../../api/Call';
import type { ClientKeyView } from '../../api/ClientKeyView';
import type { Reply } from '../../api/Reply';
import { fault } from './fault';

export type ClientKeyCall = Extract<Call, { call: 'client_keys' | 'add_client_key' | 'revoke_client_key' }>;

const HOUR_MS = 3_600_000;

export class FakeClientKeys {
  #keys: ClientKeyView[];
  /** Programs of this machine need one too. */
  required = false;
  wrong = 0;

  constructor(now: number) {
    const at = (hours: number) => new Date(now - hours * HOUR_MS).toISOString();
    const key = (name: string, rest: Partial<ClientKeyView>): ClientKeyView => ({
      name,
      scope: 'inference',
      models: [],
      at_once: null,
      tokens_per_minute: null,
      made_at: at(900),
      last_used_at: null,
      under_way: 0,
      limited: 0,
      ...rest,
    });
    this.#keys = [
      key('open-webui', { last_used_at: at(0), under_way: 2 }),
      key('indexer', { models: ['background', '*-embed*'], at_once: 8, last_used_at: at(2), limited: 14 }),
      key('notes', { models: ['small'], tokens_per_minute: 60_000, last_used_at: at(30) }),
      key('shelf-display', { scope: 'read' }),
    ];
  }

  answer(call: ClientKeyCall, now: number): Reply {
    switch (call.call) {
      case 'client_keys':
        return {
          reply: 'client_keys',
          keys: this.#keys,
          required: this.required,
          wrong: this.wrong,
          wrong_at: this.wrong === 0 ? null : new Date(now).toISOString(),
        };
      case 'add_client_key': {
        const { name, scope = 'inference', models = [], at_once = null, tokens_per_minute = null } = call;
        if (name.trim() === '' || name.length > 60) {
          throw fault(
            'invalid_call',
            'The name of a key has 1 to 60 characters and is neither “others” nor “unknown”.',
          );
        }
        if (this.#find(name) !== undefined) {
          throw fault(
            'busy',
            `There is a client key named ${name} already.`,
            'Choose another name, or revoke that one first.',
          );
        }
        const made_at = new Date(now).toISOString();
        const key = { name, scope, models, at_once, tokens_per_minute, made_at, last_used_at: null };
        this.#keys = [...this.#keys, { ...key, under_way: 0, limited: 0 }];
        return { reply: 'client_key_made', key, secret: `ph_${'0123456789abcdef'.repeat(4)}` };
      }
      case 'revoke_client_key': {
        const known = this.#find(call.name);
        if (known === undefined) throw fault('not_found', `There is no client key named ${call.name}.`);
        this.#keys = this.#keys.filter((one) => one !== known);
        return { reply: 'done' };
      }
    }
  }

  #find(name: string): ClientKeyView | undefined {
    return this.#keys.find((one) => one.name.toLocaleLowerCase() === name.trim().toLocaleLowerCase());
  }
}
