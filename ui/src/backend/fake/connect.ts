// Apps that can be connected, with files that are written and put back.

import type { AppFileChange } from '../../api/AppFileChange';
import type { AppTestReport } from '../../api/AppTestReport';
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

/** A file that names an address with a mistake before it. */
const refusal = fault(
  'unsupported',
  '~/.config/zed/settings.json cannot be changed faithfully: line 14 has a comma too many.',
  'Mend that line, or copy the lines by hand.',
);

export type ConnectCall = Extract<
  Call,
  { call: 'apps' | 'connect' | 'connect_write' | 'connect_undo' | 'connect_test' }
>;

/** Keeps which files were written, and with which names. */
export class FakeApps {
  #apps: AppView[] = [
    app('claude-code', 'Claude Code', { dialect: 'messages', file: '~/.claude/settings.json', state: 'differs' }),
    app('codex', 'Codex', { dialect: 'responses', file: '~/.codex/config.toml', state: 'no_file' }),
    app('opencode', 'opencode', { file: '~/.config/opencode/opencode.json', state: 'no_file' }),
    app('cline', 'Cline'),
    app('zed', 'Zed', { file: '~/.config/zed/settings.json', state: 'refused' }),
    app('open-webui', 'Open WebUI', { in_container: true }),
    app('home-assistant', 'Home Assistant', { dialect: 'ollama', in_container: true }),
    app('curl', 'curl', { group: 'code' }),
    app('openai-python', 'OpenAI for Python', { group: 'code' }),
  ];
  readonly #before = new Map<string, AppView['state']>();
  /** Grows when somebody else writes: what was seen before is old then. */
  #writings = 0;
  readonly #wrote = new Map<string, string>();

  /** Somebody else writes the files. */
  touch(): void {
    this.#writings += 1;
  }

  answer(call: ConnectCall, now: number): Reply {
    if (call.call === 'apps') return { reply: 'apps', apps: this.#apps, address: ROOT, address_absent: null };
    const found = this.#apps.find((one) => one.id === call.app || one.title === call.app);
    if (!found) throw fault('not_found', `There is no app named ${call.app}.`);
    switch (call.call) {
      case 'connect':
        return { reply: 'connection', connection: this.#connection(found, call.model, call.small) };
      case 'connect_write': {
        const change = this.#change(found, call.model ?? 'active', call.small ?? 'small');
        if (!change) throw fault('unsupported', `${found.title} has no file that Pilothouse could change.`);
        if (call.digest !== undefined && call.digest !== change.digest)
          throw fault(
            'busy',
            `${change.path} has changed since it was looked at; nothing was written.`,
            'Look at the difference again.',
          );
        const written = !call.dry_run && change.diff !== '';
        if (written) {
          if (!this.#before.has(found.id)) this.#before.set(found.id, found.state);
          this.#wrote.set(found.id, linesOf(found, call.model ?? 'active', call.small ?? 'small'));
          this.#set(found.id, { state: 'set_up', written_at: new Date(now).toISOString() });
        }
        return { reply: 'app_file', change: { ...change, written } };
      }
      case 'connect_undo': {
        const before = this.#before.get(found.id);
        if (before === undefined) throw fault('not_found', `Nothing was written for ${found.title}.`);
        const diff = `--- ${found.file}\n+++ ${found.file}\n@@ -1 +1 @@\n-"${ROOT}"\n`;
        if (!call.dry_run) {
          this.#before.delete(found.id);
          this.#wrote.delete(found.id);
          this.#set(found.id, { state: before, written_at: null });
        }
        const change = { path: found.file ?? '', diff, digest: 'fake', written: !call.dry_run };
        return { reply: 'app_file', change };
      }
      case 'connect_test':
        return { reply: 'app_test', test: testOf(found) };
    }
  }

  #set(id: string, change: Partial<AppView>): void {
    this.#apps = this.#apps.map((one) => (one.id === id ? { ...one, ...change } : one));
  }

  #change(of: AppView, model: string, small: string): AppFileChange | null {
    if (of.file === null || of.state === 'refused') return null;
    const said = this.#wrote.get(of.id) === linesOf(of, model, small);
    const diff = said ? '' : diffOf(of, linesOf(of, model, small));
    const digest = of.state === 'no_file' && this.#writings === 0 ? 'absent' : `fake-${this.#writings}`;
    return { path: of.file, diff, digest, written: false };
  }

  #connection(of: AppView, model = 'active', small = 'small'): Connection {
    return {
      app: of,
      address: addressOf(of),
      key: 'pilothouse',
      model,
      small: hasSmall(of) ? small : null,
      context: model === 'active' ? 8192 : null,
      context_absent: model === 'active' ? null : `${model} is not loaded`,
      snippets: snippetsOf(of, model, small),
      notes: notesOf(of),
      change: this.#change(of, model, small),
      refused: of.state === 'refused' ? refusal : null,
    };
  }
}

const hasSmall = (of: AppView) => of.id === 'claude-code' || of.id === 'opencode';

function testOf(of: AppView): AppTestReport {
  const asked = { dialect: of.dialect, url: addressOf(of), took_ms: 612 };
  if (of.dialect === 'ollama')
    return {
      ...asked,
      ...{ ok: false, status: null, words: null, first_token_ms: null, answered_by: null },
      detail: 'Nothing answers there: the listener for Ollama’s own API is off in the settings.',
    };
  return {
    ...asked,
    ...{ ok: true, status: 200, words: 'Ready.', first_token_ms: 204, answered_by: 'ollama/qwen3:8b' },
    detail: `Asked as ${of.title} asks. It answered “Ready.” after 612 ms.`,
  };
}

function notesOf(of: AppView): string[] {
  const own: Record<string, string> = {
    'claude-code':
      'It compacts a conversation before the context of this model is full. Start Claude Code again afterwards.',
    codex: 'It becomes the provider that Codex uses by default. Its web search is off, because that runs at OpenAI.',
    'open-webui': 'Or in its admin settings under Connections, as an OpenAI connection.',
  };
  const note = own[of.id];
  const container = `The address is as a container sees it; ${of.title} outside of one uses ${ROOT}.`;
  return [...(note === undefined ? [] : [note]), ...(of.in_container ? [container] : [])];
}

function addressOf(of: AppView): string {
  const root = of.in_container ? 'http://host.docker.internal:11480' : ROOT;
  return of.dialect === 'messages' || of.dialect === 'ollama' ? root : `${root}/v1`;
}

function snippetsOf(of: AppView, model: string, small: string): Connection['snippets'] {
  const text = linesOf(of, model, small);
  if (of.id === 'claude-code')
    return [
      { title: '~/.claude/settings.json', language: 'json', text },
      {
        title: 'Terminal',
        language: 'sh',
        text: `ANTHROPIC_BASE_URL=${ROOT} ANTHROPIC_AUTH_TOKEN=pilothouse ANTHROPIC_MODEL=${model} claude\n`,
      },
    ];
  return [{ title: of.file ?? 'Terminal', language: 'text', text }];
}

function linesOf(of: AppView, model: string, small: string): string {
  if (of.id === 'claude-code') {
    const env = {
      ANTHROPIC_BASE_URL: ROOT,
      ANTHROPIC_AUTH_TOKEN: 'pilothouse',
      ANTHROPIC_MODEL: model,
      ANTHROPIC_DEFAULT_HAIKU_MODEL: small,
      CLAUDE_CODE_AUTO_COMPACT_WINDOW: '8192',
    };
    return `${JSON.stringify({ env }, null, 2)}\n`;
  }
  if (of.id === 'curl')
    return `curl ${addressOf(of)}/chat/completions -H 'Content-Type: application/json' -d '{"model": "${model}", "messages": [{"role": "user", "content": "Hello"}]}'\n`;
  return `base_url = "${addressOf(of)}"\nmodel = "${model}"\n`;
}

/** Of Claude Code's file single values change among others; the other files are new. */
function diffOf(of: AppView, text: string): string {
  const lines = text.trimEnd().split('\n');
  const plus = (all: string[]) => all.map((line) => `+${line}\n`).join('');
  if (of.state === 'no_file') return `--- /dev/null\n+++ ${of.file}\n@@ -0,0 +1,${lines.length} @@\n${plus(lines)}`;
  const head = `--- ${of.file}\n+++ ${of.file}\n`;
  if (of.id !== 'claude-code')
    return `${head}@@ -1,2 +1,2 @@\n-base_url = "https://api.example.com/v1"\n${plus(lines)}`;
  // More of the file follows, so the last of them has a comma too.
  const entries = plus(lines.slice(2, -2)).replace(/(?<!,)\n$/, ',\n');
  return `${head}@@ -1,5 +1,9 @@\n {\n   "env": {\n-    "ANTHROPIC_MODEL": "sonnet",\n${entries}     "EDITOR": "vim"\n   },\n@@ -18,2 +22,2 @@\n   "permissions": {}\n }\n`;
}
