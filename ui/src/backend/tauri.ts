import { invoke } from '@tauri-apps/api/core';
import type { Call } from '../api/Call';
import type { Reply } from '../api/Reply';
import { asApiError, type Backend } from './backend';

/** Talks to the engine inside the app. */
export class TauriBackend implements Backend {
  async call(call: Call): Promise<Reply> {
    try {
      return await invoke<Reply>('call', { call });
    } catch (error) {
      throw asApiError(error);
    }
  }
}
