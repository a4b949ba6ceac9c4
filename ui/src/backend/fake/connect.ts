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

/** What of the rest of the engine counts for apps. */
interface Around {
  /** Programs have to show a key. */
  required: () => boolean;
  /** As the settings file says now; the engine has started with none. */
  ollamaPort: () => number;
}

const PLACEHOLDER = 'pilothouse';
const OLLAMA_PORT = 11435;

/** What an app shall use. */
interface Wanted {
  model: string;
  small: string;
  /** Empty: none was named. */
  key: string;
}

/** Errors: invalid_call. */
function wantedOf(call: { model?: string; small?: string; key?: string }): Wanted {
  const key = call.key?.trim() ?? '';
  if (key !== '' && !/^[!-~]{1,200}$/.test(key))
    throw fault('invalid_call', 'A key is one line of 1 to 200 letters, digits and signs of ASCII, without spaces.');
  return { model: call.model ?? 'active', small: call.small ?? 'small', key };
}

/** Keeps which files were written, and with which names. */
export class FakeApps {
  readonly #around: Around;
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
  readonly #wrote = new Map<string, Wanted>();

  constructor(around: Around = { required: () => false, ollamaPort: () => 0 }) {
    this.#around = around;
  }

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
        return { reply: 'connection', connection: this.#connection(found, wantedOf(call)) };
      case 'connect_write': {
        const wanted = this.#kept(found, wantedOf(call));
        const change = this.#change(found, wanted);
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
          this.#wrote.set(found.id, wanted);
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
        return { reply: 'app_test', test: this.#test(found, this.#kept(found, wantedOf(call)).key) };
    }
  }

  #set(id: string, change: Partial<AppView>): void {
    this.#apps = this.#apps.map((one) => (one.id === id ? { ...one, ...change } : one));
  }

  /** A key that stands in its file stays there when none is named. */
  #kept(of: AppView, wanted: Wanted): Wanted {
    const kept = this.#wrote.get(of.id)?.key ?? '';
    return wanted.key === '' && kept.startsWith('ph_') ? { ...wanted, key: kept } : wanted;
  }

  #change(of: AppView, wanted: Wanted): AppFileChange | null {
    if (of.file === null || of.state === 'refused') return null;
    const wrote = this.#wrote.get(of.id);
    const said = wrote !== undefined && linesOf(of, wrote) === linesOf(of, wanted);
    const diff = said ? '' : diffOf(of, linesOf(of, wanted));
    const digest = of.state === 'no_file' && this.#writings === 0 ? 'absent' : `fake-${this.#writings}`;
    return { path: of.file, diff, digest, written: false };
  }

  /** Why Ollama's own API is spoken nowhere, and the port that would do; null: it is spoken. */
  #noOllama(): { reason: string; port: number } | null {
    return this.#around.ollamaPort() === 0 ? { reason: 'switched off in the settings', port: OLLAMA_PORT } : null;
  }

  #test(of: AppView, key: string): AppTestReport {
    const none = of.dialect === 'ollama' ? this.#noOllama() : null;
    if (none !== null) {
      const { reason, port } = none;
      const detail = `Not asked: ${of.title} speaks Ollama's own API, and the port for that is not open (${reason}). Set gateway.ollama_port to ${port}.`;
      return { ...came(of), ok: false, url: null, took_ms: 0, detail };
    }
    if (this.#around.required() && !key.startsWith('ph_')) {
      const detail = `Asked as ${of.title} asks: refused with 401: This address wants a key, as “Authorization: Bearer KEY” or “x-api-key: KEY”.`;
      return { ...came(of), ok: false, status: 401, detail };
    }
    return {
      ...came(of),
      ...{ ok: true, status: 200, words: 'Ready.', first_token_ms: 204, answered_by: 'ollama/qwen3:8b' },
      detail: `Asked as ${of.title} asks. It answered “Ready.” after 612 ms.`,
    };
  }

  #connection(of: AppView, wanted: Wanted): Connection {
    const { model, small, key } = wanted;
    const none = of.dialect === 'ollama' ? this.#noOllama() : null;
    const kept = key === '' && this.#kept(of, wanted).key !== '';
    return {
      app: of,
      address: none === null ? addressOf(of) : null,
      address_absent: none?.reason ?? null,
      ollama_port: none?.port ?? null,
      key: key === '' ? PLACEHOLDER : key,
      key_kept: kept,
      key_missing: this.#around.required() && !kept && (key === '' || key === PLACEHOLDER),
      model,
      small: hasSmall(of) ? small : null,
      context: model === 'active' ? 8192 : null,
      context_absent: model === 'active' ? null : `${model} is not loaded`,
      snippets: none === null ? snippetsOf(of, wanted) : [],
      notes: notesOf(of, none?.port ?? null),
      change: this.#change(of, this.#kept(of, wanted)),
      refused: of.state === 'refused' ? refusal : null,
    };
  }
}

const hasSmall = (of: AppView) => of.id === 'claude-code' || of.id === 'opencode';

/** What a test has in any case. */
const came = (of: AppView): Omit<AppTestReport, 'ok' | 'detail'> => ({
  ...{ dialect: of.dialect, url: addressOf(of), took_ms: 612 },
  ...{ status: null, words: null, first_token_ms: null, answered_by: null },
});

function notesOf(of: AppView, port: number | null): string[] {
  if (of.dialect === 'ollama')
    return [
      ...(port === null
        ? []
        : [`Ollama's own API has a port of its own, which is off: set gateway.ollama_port to ${port}.`]),
      "It speaks Ollama's own API. Choose the model by the name that is shown here.",
    ];
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
  if (of.dialect === 'ollama') return `http://host.docker.internal:${OLLAMA_PORT}`;
  const root = of.in_container ? 'http://host.docker.internal:11480' : ROOT;
  return of.dialect === 'messages' ? root : `${root}/v1`;
}

function snippetsOf(of: AppView, wanted: Wanted): Connection['snippets'] {
  const text = linesOf(of, wanted);
  const key = wanted.key === '' ? PLACEHOLDER : wanted.key;
  if (of.id === 'claude-code')
    return [
      { title: '~/.claude/settings.json', language: 'json', text },
      {
        title: 'Terminal',
        language: 'sh',
        text: `ANTHROPIC_BASE_URL=${ROOT} ANTHROPIC_AUTH_TOKEN=${key} ANTHROPIC_MODEL=${wanted.model} claude\n`,
      },
    ];
  return [{ title: of.file ?? 'Terminal', language: 'text', text }];
}

function linesOf(of: AppView, { model, small, key }: Wanted): string {
  if (of.id === 'claude-code') {
    const env = {
      ANTHROPIC_BASE_URL: ROOT,
      ANTHROPIC_AUTH_TOKEN: key === '' ? PLACEHOLDER : key,
      ANTHROPIC_MODEL: model,
      ANTHROPIC_DEFAULT_HAIKU_MODEL: small,
      CLAUDE_CODE_AUTO_COMPACT_WINDOW: '8192',
    };
    return `${JSON.stringify({ env }, null, 2)}\n`;
  }
  const bearer = key === '' ? '' : ` -H 'Authorization: Bearer ${key}'`;
  if (of.id === 'curl')
    return `curl ${addressOf(of)}/chat/completions -H 'Content-Type: application/json'${bearer} -d '{"model": "${model}", "messages": [{"role": "user", "content": "Hello"}]}'\n`;
  const token = key === '' ? '' : `experimental_bearer_token = "${key}"\n`;
  return `base_url = "${addressOf(of)}"\nmodel = "${model}"\n${token}`;
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
