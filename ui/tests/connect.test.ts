import { describe, expect, it } from 'vitest';
import type { AppView } from '../src/api/AppView';
import { appGroups, connectCallOf, diffLines, freeKeyName, namesOf, namesToChoose, standingOf } from '../src/connect';
import { expectReply } from '../src/backend/backend';
import { FakeApps } from '../src/backend/fake/connect';
import { snapshotOf } from './support';

const app = (change: Partial<AppView> = {}): AppView => ({
  ...{ id: 'codex', title: 'Codex', group: 'program', dialect: 'responses', in_container: false },
  ...{ file: '~/.codex/config.toml', state: 'no_file', written_at: null },
  ...change,
});
const AT = '2026-11-29T14:30:00';

it.each<[Partial<AppView>, string, string]>([
  [{ state: 'set_up' }, 'good', 'set up'],
  [{ state: 'set_up', written_at: AT }, 'good', 'set up today 14:30'],
  [{ state: 'differs', written_at: AT }, 'attention', 'set up otherwise'],
  [{ state: 'differs' }, 'idle', 'not set up'],
  [{ state: 'no_file' }, 'idle', 'not set up'],
  [{ state: 'refused' }, 'attention', 'its file cannot be changed'],
  [{ state: null, file: null }, 'idle', 'lines to copy'],
])('%j stands %s: %s', (change, tone, word) => {
  expect(standingOf(app(change), Date.parse('2026-11-29T15:00:00'))).toEqual({ tone, word });
});

describe('the list', () => {
  const apps = [
    app(),
    app({ id: 'curl', title: 'curl', group: 'code', dialect: 'chat', file: null }),
    app({ id: 'claude-code', title: 'Claude Code', dialect: 'messages', file: '~/.claude/settings.json' }),
  ];
  const found = (filter: string) => appGroups(apps, filter).map((one) => [one.group, one.apps.map(({ id }) => id)]);

  it('is in groups, in the order of the engine', () => {
    expect(found('')).toEqual([
      ['program', ['codex', 'claude-code']],
      ['code', ['curl']],
    ]);
  });

  it.each([
    ['CLAUDE', [['program', ['claude-code']]]],
    ['code settings', [['program', ['claude-code']]]],
    ['openai chat', [['code', ['curl']]]],
    ['.toml', [['program', ['codex']]]],
    ['nothing', []],
  ])('finds by title, id, dialect and file: %s', (filter, groups) => {
    expect(found(filter)).toEqual(groups);
  });
});

it('names that are not chosen are not sent', () => {
  expect(connectCallOf('codex', namesOf({}))).toEqual({ call: 'connect', app: 'codex' });
  expect(connectCallOf('codex', namesOf({ small: 'small' }))).toEqual({
    call: 'connect',
    app: 'codex',
    small: 'small',
  });
});

it('a key that is named is sent, and only that', () => {
  expect(connectCallOf('codex', namesOf({ key: 'ph_0' }))).toEqual({ call: 'connect', app: 'codex' });
  expect(connectCallOf('codex', namesOf({}), ' ph_0\n')).toEqual({ call: 'connect', app: 'codex', key: 'ph_0' });
  expect(connectCallOf('codex', namesOf({}), ' ')).toEqual({ call: 'connect', app: 'codex' });
});

it.each([
  [[], 'Codex'],
  [['laptop'], 'Codex'],
  [['codex'], 'Codex 2'],
  [['Codex', 'Codex 3', 'CODEX 2'], 'Codex 4'],
])('a key named after an app takes a free name beside %j: %s', (taken, name) => {
  expect(freeKeyName('Codex', taken)).toBe(name);
});

it('a key that stands in a simulated file stays there when none is named', () => {
  const apps = new FakeApps();
  const key = `ph_${'0'.repeat(64)}`;
  apps.answer({ call: 'connect_write', app: 'codex', key, dry_run: false }, 0);
  const look = (named?: string) =>
    expectReply(
      apps.answer({ call: 'connect', app: 'codex', ...(named !== undefined && { key: named }) }, 0),
      'connection',
    ).connection;
  expect(look()).toMatchObject({ key: 'pilothouse', key_kept: true, change: { diff: '' } });
  expect(look('other')).toMatchObject({ key: 'other', key_kept: false });
  expect(look('other').change?.diff).toContain('other');
  expect(() => look('a b')).toThrow(/without spaces/);
});

it('offers roles and models, and what is chosen although nobody has it', () => {
  const snapshot = snapshotOf('hybrid');
  const { roles, models } = namesToChoose(snapshot, '');
  expect(roles).toEqual(['active', ...snapshot.roles.map((one) => one.role)]);
  expect(models).toContain('ollama/qwen2.5:3b');
  expect(models).not.toContain('lmstudio/bge-m3');
  expect(namesToChoose(snapshot, 'gone').roles).toContain('gone');
  expect(namesToChoose(snapshot, 'ollama/qwen2.5:3b').roles).not.toContain('ollama/qwen2.5:3b');
});

describe('a difference', () => {
  const kinds = (diff: string) => diffLines(diff).map(({ kind, text }) => `${kind}:${text}`);

  it.each<[string, string, string[]]>([
    ['of a new file', '--- /dev/null\n+++ ~/a\n@@ -0,0 +1,2 @@\n+a = 1\n+b = 2\n', ['added:a = 1', 'added:b = 2']],
    [
      'in its first lines',
      '--- a\n+++ a\n@@ -1,3 +1,3 @@\n {\n-  "a": 1\n+  "a": 2\n }\n',
      ['same:{', 'removed:  "a": 1', 'added:  "a": 2', 'same:}'],
    ],
    [
      'with lines left out before and between',
      '--- a\n+++ a\n@@ -9,1 +9,2 @@\n x\n+y\n@@ -20 +21 @@\n-z\n',
      ['gap:', 'same:x', 'added:y', 'gap:', 'removed:z'],
    ],
    [
      'whose lines look like a head',
      '--- a\n+++ a\n@@ -1,2 +1,2 @@\n--- old\n+++ new\n',
      ['removed:-- old', 'added:++ new'],
    ],
    [
      'without a line end',
      '--- a\n+++ a\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n',
      ['removed:a', 'added:b'],
    ],
    ['with empty lines', '--- a\n+++ a\n@@ -1,2 +1,2 @@\n \n+\n', ['same:', 'added:']],
    ['of nothing', '', []],
  ])('%s', (_, diff, wanted) => {
    expect(kinds(diff)).toEqual(wanted);
  });
});

it('the simulated change of a JSON file leaves it valid, and its hunks are as long as they say', () => {
  const { connection } = expectReply(new FakeApps().answer({ call: 'connect', app: 'claude-code' }, 0), 'connection');
  const [, , ...lines] = (connection.change?.diff ?? '').trimEnd().split('\n');
  const side = (mark: string) => lines.filter((line) => line.startsWith(mark) || line.startsWith(' '));
  const parsed = (mark: string): { env: Record<string, string> } =>
    JSON.parse(
      side(mark)
        .map((line) => line.slice(1))
        .join('\n'),
    );
  expect(parsed('-').env).toEqual({ ANTHROPIC_MODEL: 'sonnet', EDITOR: 'vim' });
  expect(parsed('+').env).toMatchObject({ ANTHROPIC_MODEL: 'active', EDITOR: 'vim' });
  expect(parsed('+').env).toHaveProperty('CLAUDE_CODE_AUTO_COMPACT_WINDOW');
  const heads = lines.flatMap((line) => /^@@ -\d+,(\d+) \+\d+,(\d+) @@$/.exec(line)?.slice(1).map(Number) ?? []);
  const [before = 0, after = 0, laterBefore = 0, laterAfter = 0] = heads;
  expect(before + laterBefore).toBe(side('-').length);
  expect(after + laterAfter).toBe(side('+').length);
});
