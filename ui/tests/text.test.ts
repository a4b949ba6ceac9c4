import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import * as text from '../src/text';

const source = join(import.meta.dirname, '../src');

/** The values of a generated union type, read from its file. */
function valuesOf(type: string): string[] {
  const declared = /export type \w+ = ([^;]+);/.exec(readFileSync(join(source, `api/${type}.ts`), 'utf8'))?.[1] ?? '';
  return [...declared.matchAll(/"([^"]+)"/g)].map((match) => match[1] ?? '');
}

describe('words', () => {
  it.each([
    ['ErrorCode', text.errors],
    ['RowAct', text.rowActs],
    ['SwitchPhase', text.switchPhases],
    ['SwitchOutcome', text.switchOutcomes],
    ['Ownership', text.ownerships],
    ['MemoryMeasure', text.measures],
    ['RunState', text.runStates],
    ['TrialPhase', text.trialPhases],
    ['NoticeLevel', text.noticeLevels],
    ['NoticeKind', text.noticeKinds],
    ['ModelPurpose', text.purposes],
    ['LogSource', text.logSources],
    ['CheckResult', text.checkResults],
    ['TenantKind', text.tenantKinds],
    ['Certainty', text.certainties],
    ['FitVerdict', text.fitVerdicts],
    ['PartKind', text.partKinds],
    ['Priority', text.priorityNames],
    ['MemoryKind', text.memoryKinds],
    ['WhenDisturbed', text.whenDisturbed],
    ['DisturbedBy', text.disturbances],
    ['Verdict', text.verdicts],
    ['ContainerState', text.containerStates],
    ['ContainerHealth', text.containerHealths],
    ['ContainerProblem', text.containerProblems],
    ['RequestState', text.requestStates],
    ['Dialect', text.dialects],
    ['Why', text.whys],
    ['AppDialect', text.connect.dialects],
    ['AppGroup', text.connect.groups],
  ])('has words for each %s and for nothing else', (type, words) => {
    const values = valuesOf(type);
    expect(values.length).toBeGreaterThan(1);
    expect(Object.keys(words).sort()).toEqual(values.sort());
  });

  it('have no marks of Markdown', () => {
    const files = readdirSync(join(source, 'text')).map((file) => readFileSync(join(source, 'text', file), 'utf8'));
    const code = files.join('\n').replace(/\/\*[^]*?\*\/|^\s*\/\/.*$/gm, '');
    // Within quotes, and escaped within a template: what is left of backticks only begins and ends templates.
    expect(code).not.toMatch(/'[^'\n]*`[^'\n]*`[^'\n]*'|\\`/);
  });

  it('are calm', () => {
    const files = readdirSync(join(source, 'text')).map((file) => readFileSync(join(source, 'text', file), 'utf8'));
    const quoted = [...files.join('\n').matchAll(/'([^'\n]*)'/g)].map((match) => match[1] ?? '');
    expect(quoted.length).toBeGreaterThan(500);
    for (const words of quoted) expect(words).not.toMatch(/!|oops|successfully/i);
  });
});

it('only one file talks to Tauri, and none inserts raw HTML', () => {
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((file) =>
    /\.(ts|svelte)$/.test(file),
  );
  const contents = files.map((file) => [file, readFileSync(join(source, file), 'utf8')] as const);
  expect(contents.filter(([, code]) => code.includes('@tauri-apps')).map(([file]) => file)).toEqual([
    'backend/tauri.ts',
  ]);
  expect(contents.filter(([, code]) => code.includes('{@html')).map(([file]) => file)).toEqual([]);
});
