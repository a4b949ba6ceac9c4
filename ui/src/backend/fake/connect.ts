// Apps that can be connected, with one file that is written and put back.

import type { AppFileChange } from '../../api/AppFileChange';
import type { AppView } from '../../api/AppView';
import type { Call } from '../../api/Call';
import type { Connection } from '../../api/Connection';
import type { Reply } from '../../api/Reply';
import { fault } from './fault';

const ROOT = 'http://127.0.0.1:11480';

const app = (id: string, title: string, rest: Partial<AppView> = {}): AppView => ({
  id,
  title,
  group: 'program',
  dialect: 'chat',
  in_container: false,
  file: null,
  state: null,
  written_at: null,
  ...rest,
});

export type ConnectCall = Extract<
  Call,
  { call: 'apps' | 'connect' | 'connect_write' | 'connect_undo' | 'connect_test' }
>;

/** Keeps which files were written. */
export class FakeApps {
  readonly #apps: AppView[] = [
    app('claude-code', 'Claude Code', {
      dialect: 'messages',
      file: '~/.claude/settings.json',
      state: 'differs',
    }),
    app('codex', 'Codex', { dialect: 'responses', file: '~/.codex/config.toml', state: 'no_file' }),
    app('opencode', 'opencode', { file: '~/.config/opencode/opencode.json', state: 'no_file' }),
    app('cline', 'Cline'),
    app('open-webui', 'Open WebUI', { in_container: true }),
    app('home-assistant', 'Home Assistant', { dialect: 'ollama', in_container: true }),
    app('curl', 'curl', { group: 'code' }),
    app('openai-python', 'OpenAI for Python', { group: 'code' }),
  ];
  readonly #before = new Map<string, AppView['state']>();

  answer(call: ConnectCall, now: number): Reply {
    if (call.call === 'apps') return { reply: 'apps', apps: this.#apps, address: ROOT, address_absent: null };
    const found = this.#apps.find((one) => one.id === call.app || one.title === call.app);
    if (!found) throw fault('not_found', `There is no app named ${call.app}.`);
    switch (call.call) {
      case 'connect':
        return { reply: 'connection', connection: connectionOf(found, call.model, call.small) };
      case 'connect_write': {
        const change = changeOf(found, call.model ?? 'active');
        if (!change) throw fault('unsupported', `${found.title} has no file that Pilothouse could change.`);
        const written = !call.dry_run && change.diff !== '';
        if (written) {
          if (!this.#before.has(found.id)) this.#before.set(found.id, found.state);
          found.state = 'set_up';
          found.written_at = new Date(now).toISOString();
        }
        return { reply: 'app_file', change: { ...change, written } };
      }
      case 'connect_undo': {
        const before = this.#before.get(found.id);
        if (before === undefined) throw fault('not_found', `Nothing was written for ${found.title}.`);
        const diff = `--- ${found.file}\n+++ ${found.file}\n@@ -1 +1 @@\n-"${ROOT}"\n`;
        if (!call.dry_run) {
          this.#before.delete(found.id);
          found.state = before;
          found.written_at = null;
        }
        return {
          reply: 'app_file',
          change: { path: found.file ?? '', diff, digest: 'fake', written: !call.dry_run },
        };
      }
      case 'connect_test':
        return {
          reply: 'app_test',
          test: {
            ok: true,
            dialect: found.dialect,
            url: addressOf(found),
            status: 200,
            words: 'Ready.',
            first_token_ms: 204,
            took_ms: 612,
            answered_by: 'ollama/qwen3:8b',
            detail: `Asked as ${found.title} asks. It answered “Ready.” after 612 ms.`,
          },
        };
    }
  }
}

function addressOf(app: AppView): string {
  const root = app.in_container ? 'http://host.docker.internal:11480' : ROOT;
  return app.dialect === 'messages' || app.dialect === 'ollama' ? root : `${root}/v1`;
}

function linesOf(app: AppView, model: string): string {
  if (app.id === 'claude-code') {
    const env = { ANTHROPIC_BASE_URL: ROOT, ANTHROPIC_AUTH_TOKEN: 'pilothouse', ANTHROPIC_MODEL: model };
    return `${JSON.stringify({ env }, null, 2)}\n`;
  }
  return `base_url = "${addressOf(app)}"\nmodel = "${model}"\n`;
}

function changeOf(app: AppView, model: string): AppFileChange | null {
  if (app.file === null) return null;
  const lines = linesOf(app, model).trimEnd().split('\n');
  const head = `--- ${app.state === 'no_file' ? '/dev/null' : app.file}\n+++ ${app.file}\n`;
  const added = lines.map((line) => `+${line}\n`).join('');
  const diff = app.state === 'set_up' ? '' : `${head}@@ -0,0 +1,${lines.length} @@\n${added}`;
  return { path: app.file, diff, digest: app.state === 'no_file' ? 'absent' : 'fake', written: false };
}

function connectionOf(app: AppView, model = 'active', small = model): Connection {
  return {
    app,
    address: addressOf(app),
    key: 'pilothouse',
    model,
    small: app.id === 'claude-code' || app.id === 'opencode' ? small : null,
    context: 8192,
    context_absent: null,
    snippets: [
      {
        title: app.file ?? 'Terminal',
        language: app.id === 'claude-code' ? 'json' : 'text',
        text: linesOf(app, model),
      },
    ],
    notes: [],
    change: changeOf(app, model),
    refused: null,
  };
}
