import { describe, expect, it } from 'vitest';
import type { KvType } from '../src/api/KvType';
import type { RoleSettings } from '../src/api/RoleSettings';
import type { ScenePlan } from '../src/api/ScenePlan';
import {
  changesOf,
  draftOf,
  emptyRole,
  freeName,
  freeRole,
  idleSeconds,
  idleText,
  leadOfDraft,
  mistakesOf,
  moved,
  placed,
  rolesOf,
} from '../src/scenes/draft';
import { hybridOf } from '../src/scenes/hybrid';
import { lanesOf, leaving, poolLeft, poolThen, secondsOf, storiesOf, summaryOf, taking } from '../src/scenes/plan';
import { leadOf, wrongAlias, wrongName, wrongRole, wrongScene, wrongSettings, wrongTarget } from '../src/scenes/rules';
import { fileName, fileText, readScene } from '../src/scenes/transfer';
import { FakeBackend } from '../src/backend/fake/backend';
import { expectReply } from '../src/backend/backend';
import { snapshotOf } from './support';

const role = (model: string, more: Partial<RoleSettings> = {}): RoleSettings => ({
  ...{ server: 'ollama', model, pinned: false, priority: 'normal' },
  ...more,
});

describe('what a scene may be', () => {
  it.each(['Hybrid', 'ночь', 'a', 'Coding (evening)', 'x"y', 'x'.repeat(60)])('may be called %s', (name) =>
    expect(wrongName(name)).toBeNull(),
  );
  it.each(['', ' a', 'a ', 'free the memory', 'RESTORE', 'a\nb', 'x'.repeat(61)])('may not be called %j', (name) =>
    expect(wrongName(name)).toMatch(/^1 to 60 characters/),
  );
  it.each(['active', 'critical', 'small', '0', 'a-b_c.d', 'x'.repeat(32)])('may have a role %s', (name) =>
    expect(wrongRole(name)).toBeNull(),
  );
  it.each(['', '-a', 'A', 'a b', 'a/b', 'é', 'x'.repeat(33)])('may not have a role %j', (name) =>
    expect(wrongRole(name)).toMatch(/^1 to 32/),
  );
  it.each(['gpt-4o-mini', 'openai/gpt-4', 'x'.repeat(120)])('another name may be %s', (alias) =>
    expect(wrongAlias(alias)).toBeNull(),
  );
  it.each(['', 'active', ' a', 'a\tb', 'x'.repeat(121)])('another name may not be %j', (alias) =>
    expect(wrongAlias(alias)).toMatch(/^1 to 120/),
  );
  it('another name does not stand for itself or for nothing', () => {
    expect([wrongTarget('small', 'gpt'), wrongTarget('gpt', 'gpt'), wrongTarget(' ', 'gpt')].map(Boolean)).toEqual([
      false,
      true,
      true,
    ]);
  });

  it.each<[Partial<RoleSettings>, string[]]>([
    [{ context: 1, parallel: 64, idle_s: 604_800 }, []],
    [{ context: 16_777_216, parallel: 1, idle_s: 1 }, []],
    [{ context: 0 }, ['context']],
    [{ context: 16_777_217 }, ['context']],
    [{ parallel: 65 }, ['parallel']],
    [{ idle_s: 0 }, ['idle_s']],
    [{ idle_s: 604_801 }, ['idle_s']],
    [{ context: NaN, idle_s: NaN }, ['context', 'idle_s']],
    [{ server: ' ', model: '' }, ['server', 'model']],
  ])('settings %o have mistakes at %o', (settings, wrong) => {
    expect(Object.keys(wrongSettings(role('m', settings)))).toEqual(wrong);
  });

  it('wants a model that two roles share loaded alike', () => {
    const two = (more: Partial<RoleSettings>) => wrongScene('S', { a: role('m'), b: role('m', more) });
    expect(two({ pinned: true, priority: 'critical', idle_s: 60 })).toBeNull();
    expect(two({ context: 8192 })?.key).toBe('scenes.S.roles.b.context');
    expect(two({ parallel: 2 })?.key).toBe('scenes.S.roles.b.parallel');
    expect(two({ kv_type: 'q8_0' })?.key).toBe('scenes.S.roles.b.kv_type');
    expect(wrongScene('S', { a: role('m'), b: role('m', { server: 'lmstudio', context: 8192 }) })).toBeNull();
  });

  it.each<[[string, RoleSettings['priority']][], string[], string | null]>([
    [
      [
        ['a', 'normal'],
        ['active', 'background'],
        ['critical', 'critical'],
      ],
      [],
      'active',
    ],
    [
      [
        ['a', 'critical'],
        ['critical', 'background'],
      ],
      [],
      'critical',
    ],
    [
      [
        ['b', 'normal'],
        ['a', 'background'],
        ['c', 'critical'],
      ],
      [],
      'c',
    ],
    [
      [
        ['b', 'normal'],
        ['a', 'normal'],
      ],
      [],
      'a',
    ],
    [
      [
        ['embed', 'critical'],
        ['b', 'background'],
      ],
      ['embed'],
      'b',
    ],
    [[['embed', 'critical']], ['embed'], null],
    [[], [], null],
  ])('of %o without %o, %s leads', (roles, unable, expected) => {
    const list = roles.map(([name, priority]) => ({ role: name, priority }));
    expect(leadOf(list, (one) => !unable.includes(one))).toBe(expected);
  });
});

describe('a draft', () => {
  const scene = {
    background: role('qwen2.5:3b', { context: 8192, priority: 'background', idle_s: 1800 }),
    critical: role('llama3.1:8b', { pinned: true, priority: 'critical', kv_type: 'q8_0', parallel: 4 }),
  };

  it('means what it was made of', () => {
    const draft = draftOf('S', scene);
    expect(draft.roles.map((row) => row.role)).toEqual(['critical', 'background']);
    expect(rolesOf(draft)).toEqual(scene);
    expect(changesOf(draft, draftOf('S', scene))).toEqual([]);
  });

  it.each<[string, number | undefined | null]>([
    ['', undefined],
    ['none', undefined],
    ['30 min', 1800],
    ['30', 1800],
    ['90s', 90],
    ['2 h', 7200],
    ['1.5 hours', 5400],
    ['7 d', 604_800],
    ['soon', null],
    ['-5 min', null],
  ])('understands an idle limit of %j as %s', (text, seconds) => expect(idleSeconds(text)).toBe(seconds));

  it.each([
    [1800, '30 min'],
    [90, '90 s'],
    [7200, '2 h'],
    [604_800, '7 d'],
    [86_401, '86401 s'],
  ])('writes %d s as %s, and reads it back', (seconds, text) => {
    expect(idleText(seconds)).toBe(text);
    expect(idleSeconds(text)).toBe(seconds);
  });

  it('keeps what cannot be a number in its field, and says so there', () => {
    const draft = draftOf('S', scene);
    const [first, second] = draft.roles;
    const mistakes = mistakesOf({
      name: 'Restore',
      roles: [{ ...first!, context: '8k', parallel: '1 6' }, { ...second!, role: 'critical' }, emptyRole('x y')],
    });
    expect(mistakes.name).toMatch(/^1 to 60/);
    expect([...mistakes.rows.values()].map((one) => Object.keys(one))).toEqual([
      ['context'],
      ['role'],
      ['server', 'model', 'role'],
    ]);
    expect(mistakesOf(draft, ['S']).name).toBe('another scene is called so');
    expect(mistakesOf(draft, ['T'])).toMatchObject({ name: null, roles: null });
  });

  it('says what is not saved', () => {
    const was = draftOf('S', scene);
    const [critical, background] = was.roles;
    const now = {
      name: 'T',
      roles: [{ ...critical!, server: 'lmstudio', model: 'other', context: '4,096' }, emptyRole('small')],
    };
    expect(changesOf(now, was)).toEqual([
      'name',
      'model of critical',
      'context of critical',
      'new role small',
      'without background',
    ]);
    expect(changesOf({ ...was, roles: [critical!, { ...background!, context: '8,192', idle: '0.5 h' }] }, was)).toEqual(
      [],
    );
  });

  it('finds names that are free', () => {
    expect(freeName('Hybrid', ['Coding'])).toBe('Hybrid');
    expect(freeName('Hybrid', ['Hybrid', 'Hybrid 2'])).toBe('Hybrid 3');
    expect(wrongName(freeName('x'.repeat(60), ['x'.repeat(60)]))).toBeNull();
    expect(freeRole(draftOf('S', scene))).toBe('small');
    expect(freeRole({ name: '', roles: ['critical', 'background', 'small', 'embed'].map(emptyRole) })).toBe('role-1');
  });

  it('is led by a role that answers prompts', () => {
    const draft = draftOf('S', scene);
    expect(leadOfDraft(draft, () => true)).toBe('critical');
    expect(leadOfDraft(draft, (row) => row.role !== 'critical')).toBe('background');
    expect(leadOfDraft(draft, () => false)).toBeNull();
  });

  it('is moved among its neighbours', () => {
    const names = ['a', 'b', 'c'];
    expect(moved(names, 'a', 1)).toEqual(['b', 'a', 'c']);
    expect([moved(names, 'a', -1), moved(names, 'c', 1), moved(names, 'x', 1)]).toEqual([null, null, null]);
    expect([placed(names, 'a', 2), placed(names, 'c', 0)]).toEqual([
      ['b', 'c', 'a'],
      ['c', 'a', 'b'],
    ]);
  });
});

describe('a scene as a file', () => {
  const scene = { critical: role('m', { context: 8192, kv_type: 'q8_0', idle_s: 60 }), small: role('n') };

  it('comes back as it went', () => {
    expect(readScene(fileText('Night', scene))).toEqual({ name: 'Night', roles: scene });
    expect(readScene(fileText('Empty', {}))).toEqual({ name: 'Empty', roles: {} });
  });

  it.each([
    ['{', /no JSON/],
    ['[]', /holds no scene/],
    ['{"name":"S"}', /holds no scene/],
    ['{"roles":{}}', /has no name/],
    ['{"name":"Restore","roles":{}}', /scenes\.Restore is not allowed/],
    ['{"name":"S","roles":{},"when":1}', /“when”/],
    ['{"name":"S","roles":{"a":5}}', /roles\.a is not a table/],
    ['{"name":"S","roles":{"a":{"server":"o"}}}', /roles\.a\.model is not a text/],
    ['{"name":"S","roles":{"a":{"server":"o","model":"m","ctx":1}}}', /“roles\.a\.ctx”/],
    ['{"name":"S","roles":{"a":{"server":"o","model":"m","context":"8192"}}}', /roles\.a\.context is not a number/],
    ['{"name":"S","roles":{"a":{"server":"o","model":"m","context":0}}}', /roles\.a\.context is not allowed.*16777216/],
    ['{"name":"S","roles":{"a":{"server":"o","model":"m","pinned":1}}}', /roles\.a\.pinned is not true or false/],
    ['{"name":"S","roles":{"a":{"server":"o","model":"m","kv_type":"q2"}}}', /kv_type is not one of f32, f16/],
    ['{"name":"S","roles":{"a":{"server":"o","model":"m","priority":"high"}}}', /one of critical, normal, background/],
    ['{"name":"S","roles":{"A b":{"server":"o","model":"m"}}}', /roles\.A b is not allowed/],
  ])('%s is refused with what is wrong', (text, said) => {
    const read = readScene(text);
    expect('wrong' in read ? read.wrong : '').toMatch(said);
  });

  it('is called so that every file system takes it', () => {
    expect(fileName('Coding (evening)')).toBe('Coding (evening).json');
    expect(fileName('a/b:c\\d')).toBe('a-b-c-d.json');
    expect(fileName('..')).toBe('scene.json');
  });
});

describe('the template', () => {
  it('puts the active model on its server, and the smallest of Ollama behind it', () => {
    expect(rolesOf(hybridOf(snapshotOf('many'), 'Hybrid')!)).toEqual({
      critical: {
        ...{ server: 'lmstudio', model: 'qwen2.5-7b-instruct-mlx', pinned: true, priority: 'critical' },
      },
      background: {
        ...{ server: 'ollama', model: 'qwen2.5:0.5b', pinned: false, priority: 'background', idle_s: 1800 },
      },
    });
    expect(rolesOf(hybridOf(snapshotOf('ready'), 'Hybrid')!)).toMatchObject({
      critical: { server: 'llama-server', model: 'SmolLM2-135M-Instruct.Q4_1' },
      background: { server: 'ollama', model: 'smollm2:135m' },
    });
  });

  it('takes the same model where the active one is on Ollama, else the smallest there', () => {
    const on = (model: string) => ({ active: { server: 'ollama', model, instance: model } });
    const critical = (model: string) => rolesOf(hybridOf(snapshotOf('many', on(model)), 'Hybrid')!).critical?.model;
    expect(critical('llama3.1:8b')).toBe('meta-llama-3.1-8b-instruct');
    expect(critical('nothing')).toBe('qwen2.5-0.5b-instruct');
  });

  it('is not there without two servers', () => {
    const { servers } = snapshotOf('many');
    const down = servers.map((one) => (one.id === 'ollama' ? { ...one, state: 'stopped' as const } : one));
    expect(hybridOf(snapshotOf('many', { servers: down }), 'Hybrid')).toBeNull();
    const alone = servers.map((one) => (one.id === 'ollama' ? one : { ...one, state: 'stopped' as const }));
    expect(hybridOf(snapshotOf('many', { servers: alone }), 'Hybrid')).toBeNull();
    expect(hybridOf(snapshotOf('first-start'), 'Hybrid')).toBeNull();
  });
});

describe('a plan', () => {
  async function planned(roles: Record<string, RoleSettings>) {
    const engine = new FakeBackend('hybrid', 0);
    const snapshot = expectReply(await engine.call({ call: 'snapshot' }), 'snapshot').snapshot;
    const { plan } = expectReply(await engine.call({ call: 'plan_scene', roles }), 'scene_plan');
    return { plan, snapshot };
  }
  const studio = (model: string, more: Partial<RoleSettings> = {}) => role(model, { server: 'lmstudio', ...more });
  const small = studio('qwen2.5-0.5b-instruct', { context: 4096, parallel: 8, pinned: true });

  it('lays its loads on an axis by server, one after the other', async () => {
    const { plan } = await planned({
      critical: studio('google/gemma-3-12b', { priority: 'critical' }),
      background: role('granite3.3:2b', { priority: 'background' }),
      small,
    });
    const { lanes, total } = lanesOf(plan);
    expect(lanes.map((one) => [one.server, one.segments.length])).toEqual([
      ['ollama', 1],
      ['lmstudio', 1],
    ]);
    const [first, second] = lanes.map((one) => one.segments[0]!);
    expect(first!.from).toBe(0);
    expect(second!.from).toBeCloseTo(first!.seconds!);
    expect(total).toBeCloseTo(plan.takes_s!);
  });

  it('has no axis where a time is not known', async () => {
    const { plan } = await planned({ critical: role('gemma3:12b') });
    expect(lanesOf(plan).total).toBeNull();
    expect(lanesOf(plan).lanes[0]?.segments[0]?.seconds).toBeNull();
  });

  it.each([
    [7, [0, 2, 4, 6]],
    [1.08, [0, 0.5, 1]],
    [60, [0, 20, 40, 60]],
    [0.4, [0, 0.1, 0.2, 0.3, 0.4]],
  ])('of %d s has marks at %o', (total, marks) => expect(secondsOf(total)).toEqual(marks));

  it('tells what each role lives through', async () => {
    const { plan, snapshot } = await planned({
      critical: studio('google/gemma-3-12b', { priority: 'critical' }),
      background: role('qwen2.5:3b', { context: 16_384, priority: 'background' }),
      extra: role('granite3.3:2b'),
      small,
    });
    const roles = {
      critical: studio('google/gemma-3-12b'),
      background: role('qwen2.5:3b', { context: 16_384 }),
      extra: role('granite3.3:2b'),
      small,
    };
    const stories = Object.fromEntries(storiesOf(plan, roles, snapshot).map((one) => [one.roles.join(), one.text]));
    expect(stories.critical).toBe('is answered by Qwen2.5 7B Instruct until Gemma 3 12B has given a first token');
    expect(stories.background).toMatch(/^waits for Qwen2.5 3B Instruct, about \d+\ss$/);
    expect(stories.extra).toMatch(/^answers once Granite 3.3 2B Instruct is loaded, /);
    expect(stories.small).toBe('is not touched');
    expect(stories.embed).toBe('ends; nomic-embed-text v1.5 leaves memory');
    expect(leaving(plan).map((one) => one.model)).toEqual(['qwen2.5-7b-instruct-mlx', 'nomic-embed-text:latest']);
  });

  it('draws the memory afterwards so that its parts add up', async () => {
    const { plan, snapshot } = await planned({ critical: studio('google/gemma-3-12b'), small });
    const then = poolThen(plan, snapshot.ledger!, snapshot)!;
    const sum = then.pool.tenants.reduce((all, one) => all + one.bytes, 0);
    expect(sum + then.pool.free_bytes).toBe(then.pool.total_bytes);
    const titles = then.pool.tenants.filter((one) => one.kind === 'instance').map((one) => one.title);
    expect(titles).toContain('Gemma 3 12B');
    expect(titles).not.toContain('Qwen2.5 7B Instruct');
    expect(then.room.headroom).toBe(plan.free_bytes);
    expect(poolThen({ ...plan, free_bytes: null }, snapshot.ledger!, snapshot)).toBeNull();
  });

  it('frees for a refusal what the scene lets go of', async () => {
    const { snapshot } = await planned({ small });
    const left = poolLeft({ small }, snapshot.ledger!, snapshot)!;
    expect(left.pool.tenants.filter((one) => one.kind === 'instance').map((one) => one.title)).toEqual([
      'Llama 3.2 1B Instruct',
    ]);
    expect(left.room.headroom).toBeGreaterThan(snapshot.ledger!.headroom_bytes);
  });

  it('leaves out with a role those that share its model', () => {
    const roles = { critical: role('a'), twin: role('a'), small: role('b') };
    const offer = {
      ...{ what: 'Without critical', without_role: 'critical', unload: null, smaller: null },
      ...{ frees_bytes: 1, enough: true },
    };
    expect(Object.keys(taking(offer, roles))).toEqual(['small']);
    expect(Object.keys(taking({ ...offer, without_role: null }, roles))).toEqual(['critical', 'twin', 'small']);
  });

  it.each<[number | null, KvType | null]>([
    [8192, null],
    [null, 'q8_0'],
    [4096, 'q4_0'],
  ])('loads one role with less where that is taken: context %s, KV type %s', (context, kv_type) => {
    const roles = { Critical: { ...role('a'), context: 32768, pinned: true }, small: role('b') };
    const smaller = { role: 'Critical', context, kv_type };
    const offer = { what: '', without_role: null, unload: null, smaller, frees_bytes: 1, enough: true };
    const then = taking(offer, roles);
    expect(then.small).toEqual(roles.small);
    expect(then.Critical).toMatchObject({ model: 'a', pinned: true, context: context ?? 32768 });
    expect(then.Critical?.kv_type).toBe(kv_type ?? undefined);
    // One that has been taken out meanwhile.
    expect(taking(offer, { small: role('b') })).toEqual({ small: role('b') });
  });

  it.each<[number, number | null, number | null, string]>([
    [2, 12.9e9, 9, '2 roles · 12.9 GB · about 9 s'],
    [1, null, null, '1 role · time not known yet'],
    [3, 6e9, 0, '3 roles · 6.00 GB · at once'],
    [0, 0, 0, 'no role'],
  ])('of %d roles is said in a line', (roles, needed, seconds, line) => {
    expect(summaryOf(roles, needed, seconds).replaceAll('\u00a0', ' ')).toBe(line);
  });

  it('that does nothing has no lanes', () => {
    const nothing = { steps: [{ name: 'commit', model: null, title: null, bytes: null, seconds: null }] };
    expect(lanesOf(nothing as unknown as ScenePlan)).toEqual({ lanes: [], total: 0 });
  });
});
